package e2e

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// Group F of the checklist: framing.
var framing = []table{framed, malformed}

func TestFraming(t *testing.T) { run(t, framing...) }

var framed = table{
	"F01": both(func(r *rig) { // PINGREQ after CONNECT [SN-5.4.19]
		r.client(cleanSession).ask("02 16", "02 17")
	}),
	"F02": both(func(r *rig) { // the long form is legal at any length [SN-5.2.1]
		r.client(cleanSession).ask("01 00 04 16", "02 17")
	}),
	"F10": both(func(r *rig) { publishOfLength(r, 255) }), // the longest short form
	"F11": both(func(r *rig) { publishOfLength(r, 258) }), // the shortest long form
	"F12": both(func(r *rig) { // lengths around the change of form, towards the device
		d := r.client(cleanSession)
		d.subscribe("s/temp", 0)
		for total, header := range map[int]string{254: "FE", 255: "FF", 258: "01 01 02", 259: "01 01 03"} {
			payload := strings.Repeat("x", total-len(strings.ReplaceAll(header, " ", ""))/2-6)
			r.publish("s/temp", payload, 0)
			d.expect(header + " 0C 00 {s/temp} 00 00 " + octets(payload))
		}
	}, key("session.max_amplification", "0")), // else it has to prove its address first
	"F13": both(func(r *rig) { publishOfLength(r, 1400) }), // the default limit of a datagram
	"F17": both(func(r *rig) { // unused flag bits of CONNECT are no concern [SN-5.4.4]
		r.device("cli-1").ask("0B 04 F3 01 00 3C 'cli-1'", "03 05 00")
	}),
}

// publishOfLength sends a PUBLISH QoS 1 of so many octets and shows that it arrives.
func publishOfLength(r *rig, total int) {
	r.Helper()
	watcher := r.watch("s/#")
	d := r.client(cleanSession)
	d.register("s/temp")
	header := 7
	if total > 255 {
		header = 9
	}
	payload := bytes.Repeat([]byte("0123456789"), total)[:total-header]
	d.ask("__ 0C 20 {s/temp} 00 07 "+octets(payload), "07 0D {s/temp} 00 07 00")
	watcher.expect("s/temp", string(payload), 1)
}

var malformed = table{
	"F03": ignored("01 00 03 16"),                                        // long form below 4
	"F04": ignored("00 16"),                                              // Length 0
	"F05": ignored("01 16"),                                              // half a long form
	"F06": ignored("", "02"),                                             // nothing, and half of nothing
	"F07": ignored("05 16"),                                              // Length beyond the datagram
	"F08": ignored("02 16 00"),                                           // trailing octet, strict reading (A1)
	"F09": ignored("02 03", "02 11", "02 19", "02 1E", "02 FD", "02 FF"), // reserved types
	"F16": ignored( // types that only a gateway sends (A40)
		"03 05 00", "08 13 20 00 05 00 03 00", "02 06", "02 08", "04 15 00 0A", "03 1B 00", "03 1D 00",
		"05 00 01 03 84", "03 02 01"),
	"F14": both(func(r *rig) { // the largest datagram there is
		d := r.client(cleanSession)
		garbage := bytes.Repeat([]byte{0xA5}, 65507)
		d.write(garbage)
		r.device("stranger").write(garbage)
		d.alive()
	}),
	"F15": both(truncations, key("session.t_retry", "5s")),
	"F18": both(func(r *rig) { // 10^5 random datagrams
		d := r.client(cleanSession)
		noise := rand.New(rand.NewPCG(1, 2))
		flood := func(n int) {
			strangers := [...]*device{r.device("stranger"), r.device("stranger"), r.device("stranger")}
			for i := range n {
				b := make([]byte, noise.IntN(64))
				for j := range b {
					b[j] = byte(noise.Uint32())
				}
				if len(b) > 1 && i%2 == 0 {
					b[0], b[1] = byte(len(b)), byte(noise.IntN(0x20)) // a good frame around it
				}
				strangers[i%len(strangers)].write(b)
				if i%200 == 0 { // no faster than the gateway reads
					d.ask("02 16", "02 17")
				}
			}
		}
		flood(10_000)
		before := r.gateway.memory(r.T)
		flood(90_000)
		d.alive()
		if after := r.gateway.memory(r.T); after > before+before/2 {
			r.Errorf("the gateway's memory grew from %d to %d octets", before, after)
		}
		late := r.device("late")
		late.connect(cleanSession, minute)
		late.alive()
	}),
}

// ignored is a test that each of the datagrams is dropped without a trace, from a client
// and from a stranger.
func ignored(datagrams ...string) map[string]check {
	return both(func(r *rig) {
		d, stranger := r.client(cleanSession), r.device("stranger")
		d.subscribe("s/temp", 1)
		for _, datagram := range datagrams {
			d.tell(datagram)
			d.ask("02 16", "02 17")
			stranger.tell(datagram)
		}
		d.silent(moment)
		stranger.silent(moment)
		r.publish("s/temp", "still there", 1)
		d.receive("s/temp", "still there", 1)
		if drops := r.metric("drops_total"); drops == 0 {
			r.Error("no drop is counted")
		}
	})
}
