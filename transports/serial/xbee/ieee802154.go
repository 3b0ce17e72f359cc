package xbee

import "encoding/binary"

// Bits of the Options of Transmit64 and Transmit16.
const (
	NoAcknowledgement byte = 0x01
	AllPANs           byte = 0x04 // broadcast to all networks
)

// Transmit64 asks a radio with 802.15.4 firmware to send data to a 64-bit address [0x00].
type Transmit64 struct {
	ID      byte // of the Status802 that is to answer; 0 for no answer
	To      uint64
	Options byte
	Data    []byte
}

// Append implements Frame.
func (f Transmit64) Append(b []byte) []byte {
	b = append(b, byte(TypeTransmit64), f.ID)
	b = binary.BigEndian.AppendUint64(b, f.To)
	b = append(b, f.Options)
	return append(b, f.Data...)
}

func readTransmit64(r *reader) *Transmit64 {
	return &Transmit64{
		ID:      r.octet("frame id"),
		To:      r.uint64("64-bit destination"),
		Options: r.octet("options"),
		Data:    r.rest(),
	}
}

// Transmit16 is Transmit64 to a 16-bit address [0x01].
type Transmit16 struct {
	ID      byte
	To      uint16
	Options byte
	Data    []byte
}

// Append implements Frame.
func (f Transmit16) Append(b []byte) []byte {
	b = append(b, byte(TypeTransmit16), f.ID)
	b = binary.BigEndian.AppendUint16(b, f.To)
	b = append(b, f.Options)
	return append(b, f.Data...)
}

func readTransmit16(r *reader) *Transmit16 {
	return &Transmit16{
		ID:      r.octet("frame id"),
		To:      r.uint16("16-bit destination"),
		Options: r.octet("options"),
		Data:    r.rest(),
	}
}

// Status802 says what became of a Transmit64 or Transmit16 [0x89].
type Status802 struct {
	ID     byte
	Status byte // Delivery(Status) has its meaning
}

// Append implements Frame.
func (f Status802) Append(b []byte) []byte {
	return append(b, byte(TypeStatus802), f.ID, f.Status)
}

func readStatus802(r *reader) *Status802 {
	return &Status802{ID: r.octet("frame id"), Status: r.octet("status")}
}

// Receive64 is data from a radio that uses its 64-bit address [0x80].
type Receive64 struct {
	From    uint64
	RSSI    byte // signal strength in -dBm: 40 for -40 dBm
	Options byte
	Data    []byte
}

// Append implements Frame.
func (f Receive64) Append(b []byte) []byte {
	b = append(b, byte(TypeReceive64))
	b = binary.BigEndian.AppendUint64(b, f.From)
	b = append(b, f.RSSI, f.Options)
	return append(b, f.Data...)
}

// Signal is the strength in dBm, -128 at least.
func (f Receive64) Signal() int8 { return signal(f.RSSI) }

func readReceive64(r *reader) *Receive64 {
	return &Receive64{
		From:    r.uint64("64-bit source"),
		RSSI:    r.octet("RSSI"),
		Options: r.octet("options"),
		Data:    r.rest(),
	}
}

// Receive16 is data from a radio that uses a 16-bit address [0x81].
type Receive16 struct {
	From    uint16
	RSSI    byte // as in Receive64
	Options byte
	Data    []byte
}

// Append implements Frame.
func (f Receive16) Append(b []byte) []byte {
	b = append(b, byte(TypeReceive16))
	b = binary.BigEndian.AppendUint16(b, f.From)
	b = append(b, f.RSSI, f.Options)
	return append(b, f.Data...)
}

// Signal is the strength in dBm, -128 at least.
func (f Receive16) Signal() int8 { return signal(f.RSSI) }

func readReceive16(r *reader) *Receive16 {
	return &Receive16{
		From:    r.uint16("16-bit source"),
		RSSI:    r.octet("RSSI"),
		Options: r.octet("options"),
		Data:    r.rest(),
	}
}

func signal(rssi byte) int8 { return int8(-min(int(rssi), 128)) }
