package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

// The message types that a gateway sends [SN-5.2.2].
var sentByGateways = map[byte]string{
	0x00: "ADVERTISE", 0x02: "GWINFO", 0x05: "CONNACK", 0x06: "WILLTOPICREQ", 0x08: "WILLMSGREQ",
	0x0A: "REGISTER", 0x0B: "REGACK", 0x0C: "PUBLISH", 0x0D: "PUBACK", 0x0E: "PUBCOMP", 0x0F: "PUBREC",
	0x10: "PUBREL", 0x13: "SUBACK", 0x15: "UNSUBACK", 0x16: "PINGREQ", 0x17: "PINGRESP", 0x18: "DISCONNECT",
	0x1B: "WILLTOPICRESP", 0x1D: "WILLMSGRESP",
}

// lengths of those messages whose length is fixed, without the Length field.
var fixedLengths = map[byte]int{
	0x00: 4, 0x02: 2, 0x05: 2, 0x06: 1, 0x08: 1, 0x0B: 6, 0x0D: 6, 0x0E: 3, 0x0F: 3, 0x10: 3,
	0x13: 7, 0x15: 3, 0x16: 1, 0x17: 1, 0x18: 1, 0x1B: 2, 0x1D: 2,
}

// body takes a datagram's Length field off and checks it [SN-5.2.1].
func body(b []byte) ([]byte, error) {
	switch {
	case len(b) < 2:
		return nil, fmt.Errorf("%d octets are no message", len(b))
	case b[0] != 1:
		if int(b[0]) != len(b) {
			return nil, fmt.Errorf("Length says %d, datagram has %d octets", b[0], len(b))
		}
		return b[1:], nil
	case len(b) < 4:
		return nil, fmt.Errorf("long form with %d octets", len(b))
	case int(binary.BigEndian.Uint16(b[1:])) != len(b):
		return nil, fmt.Errorf("Length says %d, datagram has %d octets", binary.BigEndian.Uint16(b[1:]), len(b))
	case len(b)-2 <= 255:
		return nil, fmt.Errorf("long form for a message that fits the short one")
	}
	return b[3:], nil
}

// encapsulation takes the header off that a gateway puts before packets for a
// forwarder's nodes [SN-5.5]; nil for a packet without one.
func encapsulation(b []byte) (header, packet []byte) {
	if len(b) < 4 || b[0] < 4 || b[1] != 0xFE || int(b[0]) > len(b) {
		return nil, b
	}
	return b[:b[0]], b[b[0]:]
}

// judge checks what holds for every datagram from a gateway, whatever it answers.
func judge(b []byte) error {
	header, b := encapsulation(b)
	m, err := body(b)
	if err != nil {
		return err
	}
	kind := m[0]
	if header != nil {
		if err := judgeRadius(header[2], kind); err != nil {
			return err
		}
	}
	if _, ok := sentByGateways[kind]; !ok {
		return fmt.Errorf("type %02X is not a gateway's to send", kind)
	}
	if want, ok := fixedLengths[kind]; ok && len(m) != want {
		return fmt.Errorf("%s has %d octets", sentByGateways[kind], len(b))
	}
	switch kind {
	case 0x0C:
		return judgePublish(m)
	case 0x0A: // REGISTER
		if len(m) < 6 {
			return errors.New("REGISTER without a name")
		}
		return errors.Join(topicID(m[1:]), msgID(m[3:]))
	case 0x05, 0x0B, 0x0D, 0x13, 0x1B, 0x1D:
		if code := m[len(m)-1]; code > 3 {
			return fmt.Errorf("%s with the reserved return code %02X", sentByGateways[kind], code)
		}
	case 0x10: // PUBREL
		return nil // its MsgId may be one that the client made up (A29)
	}
	if kind == 0x0B && m[5] == 0 { // REGACK
		return topicID(m[1:])
	}
	if kind == 0x13 && (m[1]&^0x60 != 0 || m[1] == 0x60) { // SUBACK
		return fmt.Errorf("SUBACK with flags %02X", m[1])
	}
	return nil
}

// judgeRadius: a packet to one node has none, one to all has the radius of a SEARCHGW (A51).
func judgeRadius(ctrl, kind byte) error {
	toAll := kind == 0x00 || kind == 0x02
	if ctrl > 3 || toAll == (ctrl == 0) {
		return fmt.Errorf("%s encapsulated with Ctrl %02X", sentByGateways[kind], ctrl)
	}
	return nil
}

func judgePublish(m []byte) error {
	if len(m) < 6 {
		return errors.New("PUBLISH is truncated")
	}
	flags := m[1]
	if flags&0x0C != 0 {
		return fmt.Errorf("PUBLISH with the unused flags %02X set", flags&0x0C)
	}
	switch id := binary.BigEndian.Uint16(m[4:]); flags & 0x60 {
	case 0x60:
		return errors.New("PUBLISH QoS -1 from a gateway")
	case 0:
		if id != 0 || flags&0x80 != 0 {
			return fmt.Errorf("PUBLISH QoS 0 with flags %02X and MsgId %d", flags, id)
		}
	default:
		if err := msgID(m[4:]); err != nil {
			return err
		}
	}
	switch flags & 3 {
	case 3:
		return errors.New("PUBLISH with the reserved topic id type")
	case 2:
		return nil
	}
	return topicID(m[2:])
}

// topicID: 0x0000 and 0xFFFF are not used [SN-5.3.11].
func topicID(b []byte) error {
	if id := binary.BigEndian.Uint16(b); id == 0 || id == 0xFFFF {
		return fmt.Errorf("topic id %04X is reserved", id)
	}
	return nil
}

// msgID: a gateway sends no 0 where the MsgId means something (A22).
func msgID(b []byte) error {
	if binary.BigEndian.Uint16(b) == 0 {
		return errors.New("MsgId is 0")
	}
	return nil
}

func TestJudge(t *testing.T) {
	for _, good := range []string{"02 17", "03 05 00", "__ 0C 20 00 05 00 07 'hi'", "__ 0A 00 05 00 09 's/x'",
		"08 13 20 00 00 00 04 00", "07 0B 00 00 00 01 03", "05 FE 00 00 07 02 17", "04 FE 03 2A 03 02 01", "__ 0C 02 'ab' 00 00", "__ 0C 00 00 05 00 00 " + octets(make([]byte, 250))} {
		b, err := encode(good, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := judge(b); err != nil {
			t.Errorf("judge(%q): %v", good, err)
		}
	}
	for _, bad := range []string{"", "02", "03 17", "02 17 00", "01 00 04 17", "04 18 00 3C", "02 01", "03 05 04",
		"__ 0C 60 00 05 00 00", "__ 0C 80 00 05 00 00", "__ 0C 20 00 05 00 00", "__ 0C 00 FFFF 00 00", "__ 0C 03 00 05 00 00",
		"05 FE 01 00 07 02 17", "04 FE 00 2A 03 02 01", "04 FE 00 2A 02 16 00",
		"04 FE 00 2A 04 FE 00 2A 02 17", "04 FE 00 2A", "__ 0A 00 00 00 09 's/x'", "__ 0A 00 05 00 00 's/x'", "07 0B FFFF 00 01 00", "08 13 60 00 00 00 04 00"} {
		b, err := encode(bad, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := judge(b); err == nil {
			t.Errorf("judge(%q) is satisfied", bad)
		}
	}
}
