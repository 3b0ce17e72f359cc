package mqttsn

// Encapsulated carries a packet between a forwarder and the gateway [SN-5.5].
type Encapsulated struct {
	// Radius of a broadcast by the forwarder, 0 to 3 hops; 0 towards a single node.
	Radius byte
	// NodeID is the Wireless Node Id of the client: 1 to MaxNodeID octets.
	NodeID []byte
	// Packet is one complete packet that is not itself encapsulated.
	Packet []byte
}

const maskRadius = 0x03

// Type is TypeEncapsulated.
func (Encapsulated) Type() Type { return TypeEncapsulated }

// Append implements Packet. It appends nothing if NodeID is longer than MaxNodeID.
func (p Encapsulated) Append(b []byte) []byte {
	if len(p.NodeID) > MaxNodeID {
		return b
	}
	// Length covers the header only; the packet within brings its own [SN-5.5].
	b = append(b, byte(3+len(p.NodeID)), byte(TypeEncapsulated), p.Radius&maskRadius)
	b = append(b, p.NodeID...)
	return append(b, p.Packet...)
}

// decode checks the frame of the packet within, not its fields.
func (p *Encapsulated) decode(r reader) fault {
	p.Radius = r.octet("Ctrl") & maskRadius // the other bits are reserved
	p.NodeID = r.nodeID()
	p.Packet = r.packet()
	return r.end()
}
