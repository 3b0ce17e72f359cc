package session

import "mqttsn-gateway/mqttsn"

// Path is what a session has to know of the way to its client.
type Path struct {
	// MTU is how many octets a packet to the client may have; 0 stands for what the
	// protocol can express. What does not fit is not delivered [SN-6.10].
	MTU int
	// Rate is how many octets per second the way carries, if it is a radio or a serial
	// line: packets are then paced, and T_retry follows the round trips. 0 for all
	// others.
	Rate int
	// Forgeable says that whoever sends packets from there may be elsewhere: the client has
	// to prove its address before it is sent much. The rest matters only then.
	Forgeable bool
	// Frame is how many octets each packet to the client has on top, around it.
	Frame int
	// Credit is how many octets may be sent there before anything has come.
	Credit int
	// Seed is a random number after which the MsgIds there begin, so that nobody knows them
	// who has been this client elsewhere; 0 lets them go on.
	Seed uint16
}

// SetPath tells the way to the client, at first and whenever it has moved.
func (s *Session) SetPath(p Path) {
	if p.MTU <= 0 || p.MTU > mqttsn.MaxPacket {
		p.MTU = mqttsn.MaxPacket
	}
	s.mtu = int32(p.MTU)
	s.setRate(p.Rate)
	s.setProof(&p)
}

// Moved tells that the next packet comes from another peer than the last.
func (s *Session) Moved() {
	s.moved = true
	s.forgetWay()
}
