package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// recorder keeps every different datagram that a gateway sent during the run, for
// tshark to judge at the end.
type recorder struct {
	mu        sync.Mutex
	seen      map[string]bool
	ofType    map[byte]int
	datagrams []string
}

// recorderLimit is how many datagrams of one type are enough.
const recorderLimit = 10_000

var recorded = recorder{seen: map[string]bool{}, ofType: map[byte]int{}}

func (r *recorder) add(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, packet := encapsulation(b)
	m, err := body(packet)
	if err != nil {
		return // judged already
	}
	if r.ofType[m[0]] < recorderLimit && !r.seen[string(b)] {
		r.seen[string(b)] = true
		r.ofType[m[0]]++
		r.datagrams = append(r.datagrams, string(b))
	}
}

// snPort is the port that the capture's datagrams come from, whatever it was really.
const snPort = 1883

// writePcap writes UDP datagrams as a capture of raw IPv4 packets.
func writePcap(path string, datagrams []string) error {
	const linkTypeRaw = 101
	var out bytes.Buffer
	for _, field := range []any{uint32(0xA1B2C3D4), uint16(2), uint16(4), uint32(0), uint32(0), uint32(1 << 18), uint32(linkTypeRaw)} {
		_ = binary.Write(&out, binary.BigEndian, field)
	}
	for i, d := range datagrams {
		size := 20 + 8 + len(d)
		for _, field := range []any{uint32(i), uint32(0), uint32(size), uint32(size)} {
			_ = binary.Write(&out, binary.BigEndian, field)
		}
		ip := [20]byte{0x45, 0, byte(size >> 8), byte(size), 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 2}
		out.Write(ip[:])
		for _, field := range []any{uint16(snPort), uint16(40000), uint16(8 + len(d)), uint16(0)} {
			_ = binary.Write(&out, binary.BigEndian, field)
		}
		out.WriteString(d)
	}
	return os.WriteFile(path, out.Bytes(), 0o600)
}

// tsharkJudges returns one line for every datagram that tshark's MQTT-SN dissector
// does not read as one well-formed message of the datagram's length.
func tsharkJudges(dir string, datagrams []string) ([]string, error) {
	path := filepath.Join(dir, "gateway.pcap")
	if err := writePcap(path, datagrams); err != nil {
		return nil, err
	}
	cmd := exec.Command("tshark", "-n", "-r", path, "-d", fmt.Sprintf("udp.port==%d,mqttsn", snPort),
		"-T", "fields", "-E", "separator=|", "-E", "occurrence=a",
		"-e", "mqttsn.msg.len", "-e", "mqttsn.msg.type", "-e", "_ws.malformed", "-e", "_ws.expert.message")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("tshark: %w: %s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	if len(datagrams) == 0 {
		lines = nil
	}
	if len(lines) != len(datagrams) {
		return nil, fmt.Errorf("tshark read %d of %d datagrams", len(lines), len(datagrams))
	}
	var complaints []string
	for i, line := range lines {
		if want := dissected([]byte(datagrams[i])); line != want {
			complaints = append(complaints, fmt.Sprintf("% X: %q, want %q", datagrams[i], line, want))
		}
	}
	return complaints, nil
}

// dissected is what tshark has to say of a good datagram: the lengths and the types, and
// no complaint but one of its own making, since it takes a Wireless Node Id for a number
// of at most 4 octets.
func dissected(b []byte) string {
	header, packet := encapsulation(b)
	m, err := body(packet)
	if err != nil {
		return err.Error()
	}
	lengths, types := strconv.Itoa(len(packet)), fmt.Sprintf("0x%02x", m[0])
	if header == nil {
		return lengths + "|" + types + "||"
	}
	complaint := "|"
	if id := len(header) - 3; id > 4 {
		complaint = fmt.Sprintf("_ws.malformed|Trying to fetch an unsigned integer with length %d", id)
	}
	return fmt.Sprintf("%d,%s|0xfe,%s|%s", len(header), lengths, types, complaint)
}

func TestTshark(t *testing.T) {
	t.Parallel()
	long := "\x01\x01\x04\x0c\x00\x00\x05\x00\x00" + strings.Repeat("x", 251)
	node, longNode := "\x05\xfe\x00\x00\x07", "\x0b\xfe\x0012345678"
	complaints, err := tsharkJudges(t.TempDir(), []string{"\x02\x17", "\x03\x05\x00", "\x03\x17", "\x08\x13\x20\x00\x05\x00\x03", long,
		node + "\x02\x17", longNode + "\x03\x05\x00", node + long})
	if err != nil || len(complaints) != 2 {
		t.Errorf("complaints %q, %v; want one about the 3rd and one about the 4th datagram", complaints, err)
	}
}
