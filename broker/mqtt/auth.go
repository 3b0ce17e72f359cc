package mqtt

// Auth is one step of an extended authentication [MQTT 5, 3.15]. MQTT 5 only.
type Auth struct {
	Code       Code // CodeSuccess, CodeContinueAuthentication or CodeReAuthenticate
	Properties AuthProperties
}

// AuthProperties are the properties of an AUTH [MQTT 5, 3.15.2.2].
type AuthProperties struct {
	AuthenticationMethod []byte // nil: absent, which only CodeSuccess without any property may be
	AuthenticationData   []byte // nil: absent
	ReasonString         []byte // nil: absent
	User                 []UserProperty
}

// Type is TypeAuth.
func (p *Auth) Type() Type { return TypeAuth }

// Append adds the packet to b, in its shortest form [MQTT 5, 3.15.2.1]. Versions before
// MQTT 5 have no such packet: nothing is added then.
func (p *Auth) Append(b []byte, v Version) []byte {
	if v < V5 {
		return b
	}
	b, at := begin(b, TypeAuth, 0)
	if p.Code != CodeSuccess || !p.Properties.empty() {
		b = append(b, byte(p.Code))
		b = p.Properties.append(b)
	}
	return finish(b, at, 0)
}

func (p *Auth) decode(r *reader) {
	if len(r.b) == 0 {
		return // success without properties [MQTT 5, 3.15.2.1]
	}
	p.Code = r.code(r.side(inAuthClient, inAuthServer))
	p.Properties.decode(r)
	// That the method is missing is an error [MQTT 5, 3.15.2.2.2], except where all of
	// code and properties could have been left out as well.
	if p.Properties.AuthenticationMethod == nil && (p.Code != CodeSuccess || !p.Properties.empty()) {
		r.protocolError(PropAuthenticationMethod.String(), "is missing")
	}
}

func (p *AuthProperties) empty() bool {
	return p.AuthenticationMethod == nil && p.AuthenticationData == nil && p.ReasonString == nil && len(p.User) == 0
}

func (p *AuthProperties) append(b []byte) []byte {
	b, at := beginProperties(b)
	b = appendOptionalBinary(b, PropAuthenticationMethod, p.AuthenticationMethod)
	b = appendOptionalBinary(b, PropAuthenticationData, p.AuthenticationData)
	b = appendOptionalBinary(b, PropReasonString, p.ReasonString)
	b = appendUser(b, p.User)
	return finish(b, at, 0)
}

func (p *AuthProperties) decode(r *reader) {
	r.beginProperties()
	for id := r.property(); id != 0; id = r.property() {
		switch id {
		case PropAuthenticationMethod:
			p.AuthenticationMethod = r.string("")
		case PropAuthenticationData:
			p.AuthenticationData = r.binary("")
		case PropReasonString:
			p.ReasonString = r.string("")
		case PropUser:
			p.User = r.user(p.User)
		default:
			r.invalidProperty()
		}
	}
	r.endProperties()
}
