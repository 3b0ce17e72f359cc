package mqttsn

// Pingreq asks for PINGRESP [SN-5.4.19]. With a ClientID it says that a sleeping client
// is awake and wants its messages [SN-6.14].
type Pingreq struct {
	ClientID []byte
}

// Type is TypePingreq.
func (Pingreq) Type() Type { return TypePingreq }

// Append implements Packet.
func (p Pingreq) Append(b []byte) []byte { return appendOctets(b, TypePingreq, p.ClientID) }

func (p *Pingreq) decode(r reader) fault {
	p.ClientID = r.rest()
	return r.end()
}

// Pingresp answers PINGREQ; to a client that was asleep it also says that nothing more
// is waiting [SN-5.4.20].
type Pingresp struct{}

// Type is TypePingresp.
func (Pingresp) Type() Type { return TypePingresp }

// Append implements Packet.
func (Pingresp) Append(b []byte) []byte { return appendEmpty(b, TypePingresp) }

func (*Pingresp) decode(r reader) fault { return r.end() }

// Disconnect ends a connection or, with a Duration, sends the client to sleep. A
// gateway never sends a Duration [SN-5.4.21].
type Disconnect struct {
	HasDuration bool
	Duration    uint16 // sleep duration in seconds, if HasDuration
}

// Type is TypeDisconnect.
func (Disconnect) Type() Type { return TypeDisconnect }

// Append implements Packet.
func (p Disconnect) Append(b []byte) []byte {
	if !p.HasDuration {
		return appendEmpty(b, TypeDisconnect)
	}
	b, _ = appendHeader(b, TypeDisconnect, 2)
	return appendUint16(b, p.Duration)
}

func (p *Disconnect) decode(r reader) fault {
	p.HasDuration, p.Duration = !r.empty(), 0
	if p.HasDuration {
		p.Duration = r.uint16("Duration")
	}
	return r.end()
}
