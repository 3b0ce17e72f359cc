package mqttsn

// Advertise announces a gateway to the whole network [SN-5.4.1].
type Advertise struct {
	GatewayID byte
	Duration  uint16 // seconds until the next ADVERTISE
}

// Type is TypeAdvertise.
func (Advertise) Type() Type { return TypeAdvertise }

// Append implements Packet.
func (p Advertise) Append(b []byte) []byte {
	b, _ = appendHeader(b, TypeAdvertise, 3)
	b = append(b, p.GatewayID)
	return appendUint16(b, p.Duration)
}

func (p *Advertise) decode(r reader) fault {
	p.GatewayID = r.octet("GwId")
	p.Duration = r.uint16("Duration")
	return r.end()
}

// SearchGW asks for gateways [SN-5.4.2].
type SearchGW struct {
	Radius byte // hops; 0 is the whole network
}

// Type is TypeSearchGW.
func (SearchGW) Type() Type { return TypeSearchGW }

// Append implements Packet.
func (p SearchGW) Append(b []byte) []byte {
	b, _ = appendHeader(b, TypeSearchGW, 1)
	return append(b, p.Radius)
}

func (p *SearchGW) decode(r reader) fault {
	p.Radius = r.octet("Radius")
	return r.end()
}

// GWInfo answers SEARCHGW [SN-5.4.3].
type GWInfo struct {
	GatewayID byte
	// Address of the gateway, only in the answer of a client, as it stands: the
	// specification has a length octet in front of it, practice has none.
	Address []byte
}

// Type is TypeGWInfo.
func (GWInfo) Type() Type { return TypeGWInfo }

// Append implements Packet.
func (p GWInfo) Append(b []byte) []byte {
	b, ok := appendHeader(b, TypeGWInfo, 1+len(p.Address))
	if !ok {
		return b
	}
	b = append(b, p.GatewayID)
	return append(b, p.Address...)
}

func (p *GWInfo) decode(r reader) fault {
	p.GatewayID = r.octet("GwId")
	p.Address = r.rest()
	return r.end()
}
