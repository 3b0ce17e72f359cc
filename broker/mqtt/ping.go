package mqtt

// Pingreq asks for a PINGRESP [MQTT 5, 3.12].
type Pingreq struct{}

// Pingresp answers a PINGREQ [MQTT 5, 3.13].
type Pingresp struct{}

// Type is TypePingreq.
func (p *Pingreq) Type() Type { return TypePingreq }

// Type is TypePingresp.
func (p *Pingresp) Type() Type { return TypePingresp }

// Append adds the packet to b.
func (p *Pingreq) Append(b []byte, _ Version) []byte { return append(b, byte(TypePingreq)<<4, 0) }

// Append adds the packet to b.
func (p *Pingresp) Append(b []byte, _ Version) []byte { return append(b, byte(TypePingresp)<<4, 0) }
