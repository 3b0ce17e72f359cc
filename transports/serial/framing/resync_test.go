package framing

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// traffic makes the packets of a line. Each is unlike all others, so that those that
// arrive can be told apart.
type traffic struct {
	name   string
	packet func(r *rand.Rand, n int) []byte
}

func word(n int) []byte { return []byte{byte(n >> 8), byte(n)} }

func message(msgType byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	if len(body) > 253 {
		return append(append([]byte{longForm}, word(len(body)+4)...), append([]byte{msgType}, body...)...)
	}
	return append([]byte{byte(len(body) + 2), msgType}, body...)
}

// publish is a PUBLISH of QoS 1 of size octets altogether.
func publish(n, size int, data func(i int) byte) []byte {
	b := make([]byte, size-7)
	for i := range b {
		b[i] = data(i)
	}
	return message(typePublish, []byte{0x20}, word(n%7+1), word(n+1), b)
}

func printable(r *rand.Rand) byte { return byte(0x20 + r.IntN(0x5F)) }

// everyday is a message of the kinds that devices and gateways exchange.
func everyday(r *rand.Rand, n int) []byte {
	switch r.IntN(12) {
	case 0:
		return message(typeConnect, []byte{4, 1}, word(60), fmt.Appendf(nil, "sensor-%d", n))
	case 1:
		return message(typeRegister, word(0), word(n+1), fmt.Appendf(nil, "plant/%d/temperature", n%40))
	case 2:
		return message(typeRegack, word(n+1), word(n+1), []byte{0})
	case 3, 4:
		return message(typePuback, word(n%7+1), word(n+1), []byte{0})
	case 5:
		return message(typePingreq, fmt.Appendf(nil, "sensor-%d", n))
	case 6:
		return message(typeSubscribe, []byte{0x20}, word(n+1), fmt.Appendf(nil, "plant/%d/set", n%40))
	case 7:
		return message(typeSuback, []byte{0x20}, word(n+1), word(n+1), []byte{0})
	case 8:
		return publish(n, 20+r.IntN(20), func(int) byte { return byte(r.Uint32()) })
	default:
		text := fmt.Sprintf(`{"seq":%d,"t":%.2f,"rh":%d}`, n, 20+5*r.Float64(), r.IntN(100))
		return publish(n, 7+len(text), func(i int) byte { return text[i] })
	}
}

var lines = []traffic{
	{"PUBLISH of 60, text", func(r *rand.Rand, n int) []byte {
		return publish(n, 60, func(int) byte { return printable(r) })
	}},
	{"PUBLISH of 60, binary", func(r *rand.Rand, n int) []byte {
		return publish(n, 60, func(int) byte { return byte(r.Uint32()) })
	}},
	{"PUBLISH of 7 to 255, binary", func(r *rand.Rand, n int) []byte {
		return publish(n, 7+r.IntN(249), func(int) byte { return byte(r.Uint32()) })
	}},
	{"everyday messages", everyday},
	{"everyday, forwarded", func(r *rand.Rand, n int) []byte {
		return append([]byte{5, typeEncapsulated, 0, byte(r.IntN(20)), byte(r.IntN(20))}, everyday(r, n)...)
	}},
}

// outcome is what came of a line.
type outcome struct {
	sent    int
	damaged int
	lost    int // packets that were not damaged and did not arrive
	fakes   int // packets that nobody sent
}

// transmit sends packets over a line that does to each frame what noise does, which
// returns how many octets it has changed. With gaps there is silence between packets.
func transmit(r *rand.Rand, f Framing, packets [][]byte, gaps bool, noise func(i int, frame []byte) int) outcome {
	got := make(map[string]bool)
	frame := func(p []byte) { got[string(p)] = true }
	d := f.NewDecoder()
	var line []byte
	send := func() {
		for len(line) > 0 {
			n := 1 + r.IntN(min(len(line), 40))
			d.Decode(line[:n], frame)
			line = line[n:]
		}
		d.Idle()
		d.Decode(nil, frame)
	}
	o := outcome{sent: len(packets)}
	intact := make([]bool, len(packets))
	for i, p := range packets {
		start := len(line)
		line = f.Append(line, p)
		intact[i] = noise(i, line[start:]) == 0
		if gaps {
			send()
		}
	}
	send()
	for i, p := range packets {
		switch {
		case !intact[i]:
			o.damaged++
		case !got[string(p)]:
			o.lost++
		}
		delete(got, string(p))
	}
	o.fakes = len(got)
	return o
}

// TestRawLosses measures what one changed octet costs on a line without marks: besides
// the packet that has it, how many are lost. The package comment has the figures.
func TestRawLosses(t *testing.T) {
	for _, l := range lines {
		for _, gaps := range []bool{false, true} {
			trials := 20000
			if gaps {
				trials = 2000
			}
			r := rand.New(rand.NewPCG(1, 2))
			streams := make([][][]byte, 500)
			for i := range streams {
				streams[i] = make([][]byte, 16)
				for n := range streams[i] {
					streams[i][n] = l.packet(r, n)
				}
			}
			var lost, none, most, inLength, byLength int
			for trial := range trials {
				packets := streams[trial%len(streams)]
				hit, at := 5, r.IntN(len(packets[5]))
				o := transmit(r, Raw(), packets, gaps, func(i int, frame []byte) int {
					if i != hit {
						return 0
					}
					frame[at] ^= byte(1 + r.IntN(255))
					return 1
				})
				lost += o.lost
				most = max(most, o.lost)
				if o.lost == 0 {
					none++
				}
				if at == 0 {
					inLength++
					byLength += o.lost
				}
			}
			mean := float64(lost) / float64(trials)
			silence := "back to back"
			if gaps {
				silence = "with gaps"
			}
			t.Logf("%s, %s: %.4f lost per changed octet (%.2f if it is the first), none at %.2f %%, at most %d",
				l.name, silence, mean, float64(byLength)/float64(inLength), 100*float64(none)/float64(trials), most)
			if gaps && lost > 0 || mean > 0.04 {
				t.Error("that is too many")
			}
		}
	}
}

// TestNoise measures what a line loses on which one octet in a hundred is another. Of the
// framings with delimiters no packet is lost that is not itself damaged.
func TestNoise(t *testing.T) {
	const packets, size = 20000, 60
	for _, k := range kinds {
		r := rand.New(rand.NewPCG(1, 2))
		all := make([][]byte, packets)
		for n := range all {
			all[n] = message(typePublish, []byte{0x20}, word(n/65000+1), word(n%65000+1), texts(r, size-7))
		}
		o := transmit(r, k.framing, all, false, func(_ int, frame []byte) int {
			changed := 0
			for i := range frame {
				if r.IntN(100) == 0 {
					frame[i] ^= byte(1 + r.IntN(255))
					changed++
				}
			}
			return changed
		})
		intact := o.sent - o.damaged
		t.Logf("%s: of %d frames %d were damaged; of the %d others %d were lost (%.2f %%); %d false packets",
			k.name, o.sent, o.damaged, intact, o.lost, 100*float64(o.lost)/float64(intact), o.fakes)
		switch k.name {
		case "raw":
			if o.lost > intact/20 {
				t.Error("that is too many")
			}
		case "xbee 1": // a false frame may have a right checksum, one time in 256
			if o.lost > intact/1000 {
				t.Error("that is too many")
			}
		default:
			if o.lost > 0 {
				t.Error("none need be lost")
			}
		}
		if strings.HasSuffix(k.name, "crc") && o.fakes > 0 {
			t.Error("no false packet need be taken")
		}
	}
}

func texts(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = printable(r)
	}
	return b
}
