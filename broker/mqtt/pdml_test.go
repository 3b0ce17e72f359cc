package mqtt

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	Show     string      `xml:"show,attr"`
	Value    string      `xml:"value,attr"`
	Unmasked string      `xml:"unmaskedvalue,attr"`
	Fields   []pdmlField `xml:"field"`
}

// find collects the fields and protocols for which keep is true, at any depth.
func (p pdmlPacket) find(keep func(pdmlField) bool) (list []pdmlField) {
	var walk func([]pdmlField)
	walk = func(fields []pdmlField) {
		for _, f := range fields {
			if keep(f) {
				list = append(list, f)
			}
			walk(f.Fields)
		}
	}
	walk(p.Protos)
	return list
}

// complaints are what the dissector finds wrong.
func (p pdmlPacket) complaints() (names []string) {
	wrong := []string{"_ws.malformed", "_ws.expert", "mqtt.illegal_topic_length", "mqtt.unknown_version", "mqtt.prop_unknown"}
	for _, f := range p.find(func(f pdmlField) bool { return slices.Contains(wrong, f.Name) }) {
		if len(f.Fields) > 0 && f.Fields[0].Name == "_ws.string.trailing_stray_characters" {
			continue
		}
		names = append(names, f.Name)
	}
	return names
}

// mqtt lists the fields of the MQTT layer, as name=octets. The fields of one octet that
// has several are left out: the octet itself is there.
func (p pdmlPacket) mqtt() (list []string) {
	for _, f := range p.find(func(f pdmlField) bool { return strings.HasPrefix(f.Name, "mqtt.") }) {
		if f.Unmasked == "" && !strings.HasSuffix(f.Name, "properties") {
			list = append(list, strings.TrimPrefix(f.Name, "mqtt.")+"="+f.Value)
		}
	}
	return list
}

// runTshark has one TCP stream dissected, one packet in each segment.
func runTshark(t *testing.T, segments [][]byte) []pdmlPacket {
	t.Helper()
	file := filepath.Join(t.TempDir(), "packets.pcap")
	if err := os.WriteFile(file, pcap(segments), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tshark", "-n", "-r", file, "-d", "tcp.port==1883,mqtt", "-T", "pdml")
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
	if len(parsed.Packets) != len(segments) {
		t.Fatalf("%d packets sent, %d dissected", len(segments), len(parsed.Packets))
	}
	return slices.Clip(parsed.Packets)
}

// pcap is a capture file of raw IPv4 with one TCP stream to port 1883.
func pcap(segments [][]byte) []byte {
	le, be := binary.LittleEndian, binary.BigEndian
	const linkRaw = 101
	b := le.AppendUint32(nil, 0xA1B2C3D4)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, 65535)
	b = le.AppendUint32(b, linkRaw)
	seq := uint32(1)
	for _, data := range segments {
		size := 20 + 20 + len(data)
		b = append(b, make([]byte, 8)...) // at the epoch
		b = le.AppendUint32(b, uint32(size))
		b = le.AppendUint32(b, uint32(size))
		b = append(b, 0x45, 0)
		b = be.AppendUint16(b, uint16(size))
		b = append(b, 0, 0, 0, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1)
		b = be.AppendUint16(b, 40000)
		b = be.AppendUint16(b, 1883)
		b = be.AppendUint32(b, seq)
		b = be.AppendUint32(b, 1)
		b = append(b, 0x50, 0x18, 0xFF, 0xFF, 0, 0, 0, 0) // 20 octets of header, PSH and ACK
		b = append(b, data...)
		seq += uint32(len(data))
	}
	return b
}
