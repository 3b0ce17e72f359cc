package xbee

import "encoding/binary"

// Bits of the Options of Transmit and ExplicitTransmit.
const (
	NoRetries       byte = 0x01 // no retransmission and no route repair
	Encrypt         byte = 0x20 // APS encryption, which takes octets from the payload
	ExtendedTimeout byte = 0x40 // wait longer for the acknowledgement, as for a sleeping end device
)

// Bits of the Options of what was received.
const (
	Acknowledged  byte = 0x01
	ToAll         byte = 0x02 // was a broadcast
	ToAllPANs     byte = 0x04 // 802.15.4 only: a broadcast to all networks
	Encrypted     byte = 0x20
	FromEndDevice byte = 0x40
)

// Transmit asks the radio to send data to another [0x10].
type Transmit struct {
	// ID of the TransmitStatus that is to answer; 0 for no answer.
	ID byte
	// To is the 64-bit address, Coordinator or Broadcast.
	To uint64
	// To16 is the network's own address of the same radio, Unknown16 if not known. Right,
	// it saves the radio a search; stale, it costs one.
	To16 uint16
	// Radius is how many hops a broadcast goes; 0 for as many as the network allows.
	Radius  byte
	Options byte
	Data    []byte
}

// Append implements Frame.
func (f Transmit) Append(b []byte) []byte {
	b = append(b, byte(TypeTransmit), f.ID)
	b = binary.BigEndian.AppendUint64(b, f.To)
	b = binary.BigEndian.AppendUint16(b, f.To16)
	b = append(b, f.Radius, f.Options)
	return append(b, f.Data...)
}

func readTransmit(r *reader) *Transmit {
	return &Transmit{
		ID:      r.octet("frame id"),
		To:      r.uint64("64-bit destination"),
		To16:    r.uint16("16-bit destination"),
		Radius:  r.octet("radius"),
		Options: r.octet("options"),
		Data:    r.rest(),
	}
}

// TransmitStatus says what became of a Transmit or ExplicitTransmit [0x8B]. A broadcast is
// never acknowledged, so its Delivery tells nothing.
type TransmitStatus struct {
	ID byte
	// To16 is the 16-bit address that the data went to. The radio gives one it could not
	// find as 0xFFFD or as it was in the request.
	To16      uint16
	Retries   byte
	Delivery  Delivery
	Discovery byte // bits: 1 the address was searched for, 2 a route; 0x40 extended timeout
}

// Append implements Frame.
func (f TransmitStatus) Append(b []byte) []byte {
	b = append(b, byte(TypeTransmitStatus), f.ID)
	b = binary.BigEndian.AppendUint16(b, f.To16)
	return append(b, f.Retries, byte(f.Delivery), f.Discovery)
}

func readTransmitStatus(r *reader) *TransmitStatus {
	return &TransmitStatus{
		ID:        r.octet("frame id"),
		To16:      r.uint16("16-bit destination"),
		Retries:   r.octet("retries"),
		Delivery:  Delivery(r.octet("delivery")),
		Discovery: r.octet("discovery"),
	}
}

// Receive is data from another radio [0x90].
type Receive struct {
	From    uint64
	From16  uint16
	Options byte
	Data    []byte
}

// Append implements Frame.
func (f Receive) Append(b []byte) []byte {
	b = append(b, byte(TypeReceive))
	b = binary.BigEndian.AppendUint64(b, f.From)
	b = binary.BigEndian.AppendUint16(b, f.From16)
	b = append(b, f.Options)
	return append(b, f.Data...)
}

func readReceive(r *reader) *Receive {
	return &Receive{
		From:    r.uint64("64-bit source"),
		From16:  r.uint16("16-bit source"),
		Options: r.octet("options"),
		Data:    r.rest(),
	}
}

// ExplicitTransmit is Transmit with the ZigBee application layer's addresses [0x11].
type ExplicitTransmit struct {
	ID           byte
	To           uint64
	To16         uint16
	FromEndpoint byte
	ToEndpoint   byte
	Cluster      uint16
	Profile      uint16
	Radius       byte
	Options      byte
	Data         []byte
}

// Append implements Frame.
func (f ExplicitTransmit) Append(b []byte) []byte {
	b = append(b, byte(TypeExplicitTransmit), f.ID)
	b = binary.BigEndian.AppendUint64(b, f.To)
	b = binary.BigEndian.AppendUint16(b, f.To16)
	b = append(b, f.FromEndpoint, f.ToEndpoint)
	b = binary.BigEndian.AppendUint16(b, f.Cluster)
	b = binary.BigEndian.AppendUint16(b, f.Profile)
	b = append(b, f.Radius, f.Options)
	return append(b, f.Data...)
}

func readExplicitTransmit(r *reader) *ExplicitTransmit {
	return &ExplicitTransmit{
		ID:           r.octet("frame id"),
		To:           r.uint64("64-bit destination"),
		To16:         r.uint16("16-bit destination"),
		FromEndpoint: r.octet("source endpoint"),
		ToEndpoint:   r.octet("destination endpoint"),
		Cluster:      r.uint16("cluster"),
		Profile:      r.uint16("profile"),
		Radius:       r.octet("radius"),
		Options:      r.octet("options"),
		Data:         r.rest(),
	}
}

// ExplicitReceive is what comes instead of Receive from a radio whose setting AO is 1
// [0x91].
type ExplicitReceive struct {
	From         uint64
	From16       uint16
	FromEndpoint byte
	ToEndpoint   byte
	Cluster      uint16
	Profile      uint16
	Options      byte
	Data         []byte
}

// Append implements Frame.
func (f ExplicitReceive) Append(b []byte) []byte {
	b = append(b, byte(TypeExplicitReceive))
	b = binary.BigEndian.AppendUint64(b, f.From)
	b = binary.BigEndian.AppendUint16(b, f.From16)
	b = append(b, f.FromEndpoint, f.ToEndpoint)
	b = binary.BigEndian.AppendUint16(b, f.Cluster)
	b = binary.BigEndian.AppendUint16(b, f.Profile)
	b = append(b, f.Options)
	return append(b, f.Data...)
}

func readExplicitReceive(r *reader) *ExplicitReceive {
	return &ExplicitReceive{
		From:         r.uint64("64-bit source"),
		From16:       r.uint16("16-bit source"),
		FromEndpoint: r.octet("source endpoint"),
		ToEndpoint:   r.octet("destination endpoint"),
		Cluster:      r.uint16("cluster"),
		Profile:      r.uint16("profile"),
		Options:      r.octet("options"),
		Data:         r.rest(),
	}
}

// NodeIdentification tells of a radio that has joined, started or been asked to show
// itself [0x95].
type NodeIdentification struct {
	From    uint64 // who sent it on
	From16  uint16
	Options byte
	Node16  uint16 // whom it is about
	Node    uint64
	// Name is the radio's setting NI, without the zero after it.
	Name         []byte
	Parent16     uint16 // Unknown16 if it has none
	DeviceType   byte   // 0 coordinator, 1 router, 2 end device
	Event        byte   // 1 button, 2 joined, 3 power on
	Profile      uint16
	Manufacturer uint16
	// Extra is what the radio's setting NO adds: its setting DD, its signal strength.
	Extra []byte
}

// Append implements Frame. A Name with a zero would end there.
func (f NodeIdentification) Append(b []byte) []byte {
	b = append(b, byte(TypeNodeIdentification))
	b = binary.BigEndian.AppendUint64(b, f.From)
	b = binary.BigEndian.AppendUint16(b, f.From16)
	b = append(b, f.Options)
	b = binary.BigEndian.AppendUint16(b, f.Node16)
	b = binary.BigEndian.AppendUint64(b, f.Node)
	b = append(append(b, f.Name...), 0)
	b = binary.BigEndian.AppendUint16(b, f.Parent16)
	b = append(b, f.DeviceType, f.Event)
	b = binary.BigEndian.AppendUint16(b, f.Profile)
	b = binary.BigEndian.AppendUint16(b, f.Manufacturer)
	return append(b, f.Extra...)
}

func readNodeIdentification(r *reader) *NodeIdentification {
	return &NodeIdentification{
		From:         r.uint64("64-bit source"),
		From16:       r.uint16("16-bit source"),
		Options:      r.octet("options"),
		Node16:       r.uint16("16-bit address"),
		Node:         r.uint64("64-bit address"),
		Name:         r.text("name"),
		Parent16:     r.uint16("parent"),
		DeviceType:   r.octet("device type"),
		Event:        r.octet("event"),
		Profile:      r.uint16("profile"),
		Manufacturer: r.uint16("manufacturer"),
		Extra:        r.rest(),
	}
}
