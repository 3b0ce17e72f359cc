package mqttsn

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// pdml is tshark's output: protocols, and fields in fields.
type pdml struct {
	Packets []pdmlPacket `xml:"packet"`
}

type pdmlPacket struct {
	Protos []pdmlField `xml:"proto"`
}

type pdmlField struct {
	Name     string      `xml:"name,attr"`
	Value    string      `xml:"value,attr"`
	Unmasked string      `xml:"unmaskedvalue,attr"`
	Fields   []pdmlField `xml:"field"`
}

func (p pdmlPacket) malformed() bool {
	return slices.ContainsFunc(p.Protos, func(f pdmlField) bool { return f.Name == "_ws.malformed" })
}

// fields lists the fields of the MQTT-SN layer as dissection does.
func (p pdmlPacket) fields() (list []string) {
	var walk func([]pdmlField)
	walk = func(fields []pdmlField) {
		for _, f := range fields {
			switch {
			case f.Name == "mqttsn.msg":
				walk(f.Fields)
			case f.Unmasked != "":
				list = append(list, f.Name+"="+f.Value+"/"+f.Unmasked)
			default:
				list = append(list, f.Name+"="+f.Value)
			}
		}
	}
	for _, proto := range p.Protos {
		if proto.Name == "mqttsn" {
			walk(proto.Fields)
		}
	}
	return list
}

func runTshark(t *testing.T, packets []Packet) []pdmlPacket {
	t.Helper()
	file := filepath.Join(t.TempDir(), "packets.pcap")
	if err := os.WriteFile(file, pcap(packets), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tshark", "-n", "-r", file, "-d", "udp.port==1883,mqttsn", "-T", "pdml")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark (package tshark) is needed to judge the packets: %v\n%s", err, stderr.Bytes())
	}
	var parsed pdml
	if err := xml.Unmarshal(out, &parsed); err != nil {
		t.Fatalf("%v\n%s", err, hex.Dump(out[:min(len(out), 256)]))
	}
	return parsed.Packets
}

// pcap is a capture file of raw IPv4 with one UDP datagram to port 1883 per packet.
func pcap(packets []Packet) []byte {
	le, be := binary.LittleEndian, binary.BigEndian
	const linkRaw = 101
	b := le.AppendUint32(nil, 0xA1B2C3D4)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, 65535)
	b = le.AppendUint32(b, linkRaw)
	for _, p := range packets {
		data := p.Append(nil)
		size := 20 + 8 + len(data)
		b = append(b, make([]byte, 8)...) // at the epoch
		b = le.AppendUint32(b, uint32(size))
		b = le.AppendUint32(b, uint32(size))
		b = append(b, 0x45, 0)
		b = be.AppendUint16(b, uint16(size))
		b = append(b, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1)
		b = be.AppendUint16(b, 40000)
		b = be.AppendUint16(b, 1883)
		b = be.AppendUint16(b, uint16(8+len(data)))
		b = append(b, 0, 0)
		b = append(b, data...)
	}
	return b
}
