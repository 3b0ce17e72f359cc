package mqtt

// Disconnect ends a connection [MQTT 5, 3.14]. Before MQTT 5 only clients send it, and
// it is empty.
type Disconnect struct {
	Code       Code // MQTT 5 only
	Properties DisconnectProperties
}

// DisconnectProperties are the properties of a DISCONNECT [MQTT 5, 3.14.2.2].
type DisconnectProperties struct {
	SessionExpiry   Optional[uint32] // seconds; only from a client; absent: as in its CONNECT
	ReasonString    []byte           // nil: absent
	ServerReference []byte           // nil: absent; only from a server
	User            []UserProperty
}

// Type is TypeDisconnect.
func (p *Disconnect) Type() Type { return TypeDisconnect }

// Append adds the packet to b, in its shortest form [MQTT 5, 3.14.2.1].
func (p *Disconnect) Append(b []byte, v Version) []byte {
	b, at := begin(b, TypeDisconnect, 0)
	if v >= V5 && (p.Code != CodeSuccess || !p.Properties.empty()) {
		b = append(b, byte(p.Code))
		if !p.Properties.empty() {
			b = p.Properties.append(b)
		}
	}
	return finish(b, at, 0)
}

func (p *Disconnect) decode(r *reader) {
	if r.version < V5 || len(r.b) == 0 {
		return
	}
	p.Code = r.code(r.side(inDisconnectClient, inDisconnectServer))
	if len(r.b) > 0 {
		p.Properties.decode(r)
	}
}

func (p *DisconnectProperties) empty() bool {
	return !p.SessionExpiry.Set && p.ReasonString == nil && p.ServerReference == nil && len(p.User) == 0
}

func (p *DisconnectProperties) append(b []byte) []byte {
	b, at := beginProperties(b)
	b = appendOptionalUint32(b, PropSessionExpiry, p.SessionExpiry)
	b = appendOptionalBinary(b, PropReasonString, p.ReasonString)
	b = appendOptionalBinary(b, PropServerReference, p.ServerReference)
	b = appendUser(b, p.User)
	return finish(b, at, 0)
}

func (p *DisconnectProperties) decode(r *reader) {
	r.beginProperties()
	for id := r.property(); id != 0; id = r.property() {
		switch id {
		case PropSessionExpiry:
			if r.from == FromServer {
				r.protocolError("", "comes from a server") // [MQTT-3.14.2-2]
			}
			p.SessionExpiry = r.optionalUint32()
		case PropReasonString:
			p.ReasonString = r.string("")
		case PropServerReference:
			if r.from == FromClient {
				r.protocolError("", "comes from a client") // [MQTT 5, 3.14.2.2.5]
			}
			p.ServerReference = r.string("")
		case PropUser:
			p.User = r.user(p.User)
		default:
			r.invalidProperty()
		}
	}
	r.endProperties()
}
