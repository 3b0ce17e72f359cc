package client

import (
	"fmt"

	"mqttsn-gateway/mqttsn"
)

// Forwarded puts a forwarder in front of a connection: every packet is sent in a
// forwarder's frame with the given Wireless Node Id, 1 to 252 octets, and only packets
// in such frames are received [SN-5.5].
func Forwarded(conn Conn, nodeID []byte) (Conn, error) {
	if len(nodeID) < 1 || len(nodeID) > mqttsn.MaxNodeID {
		return nil, fmt.Errorf("wireless node id has %d octets, must have 1 to %d", len(nodeID), mqttsn.MaxNodeID)
	}
	return &forwarder{Conn: conn, nodeID: string(nodeID)}, nil
}

type forwarder struct {
	Conn
	nodeID string
	in     []byte
	out    []byte
}

// Read is called by one goroutine, as is Write while the Client holds its lock.
func (f *forwarder) Read(b []byte) (int, error) {
	if need := len(b) + 3 + mqttsn.MaxNodeID; len(f.in) < need {
		f.in = make([]byte, need)
	}
	for {
		n, err := f.Conn.Read(f.in)
		if err != nil {
			return 0, err
		}
		p, err := mqttsn.Decode(f.in[:n])
		if e, ok := p.(*mqttsn.Encapsulated); err == nil && ok && string(e.NodeID) == f.nodeID {
			return copy(b, e.Packet), nil
		}
		// For another node, or not from a gateway that knows forwarders.
	}
}

func (f *forwarder) Write(b []byte) (int, error) {
	f.out = mqttsn.Encapsulated{NodeID: []byte(f.nodeID), Packet: b}.Append(f.out[:0])
	if _, err := f.Conn.Write(f.out); err != nil {
		return 0, err
	}
	return len(b), nil
}
