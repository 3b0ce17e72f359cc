package e2e

import (
	"net"
	"slices"
	"testing"
	"time"
)

// lineFraming is a framing with the options that it has.
type lineFraming struct {
	name   string
	medium medium
	codec  codec
	flags  []string
}

// lineFramings are all that there are.
var lineFramings = []lineFraming{
	{"raw", overRaw, rawCodec(), nil},
	{"slip", overSLIP, slipCodec(false), nil},
	{"slip+crc", overSLIP, slipCodec(true), []string{"crc=true"}},
	{"cobs", overCOBS, cobsCodec(false), nil},
	{"cobs+crc", overCOBS, cobsCodec(true), []string{"crc=true"}},
	{"xbee", overXBee, xbeeCodec(), nil},
	{"xbee mode 1", overXBee, xbeePlainCodec(), []string{"api_mode=1"}},
}

// The limit of a test of lines that lose: generous, for nothing is measured by it.
const lossyPatience = 4 * time.Minute

// TestNoise: on a line of 115,200 baud on which one octet in a hundred is changed, both
// ways, and chunks of all sizes arrive, no QoS 1 message is lost, and none is taken for
// good that is damaged, where the framing has a checksum.
func TestNoise(t *testing.T) {
	t.Parallel()
	for _, f := range lineFramings {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			noise(t, f)
		})
	}
}

func noise(t *testing.T, f lineFraming) {
	messages := 60
	if f.medium == overXBee { // where every damaged frame or status costs a status_timeout
		messages = 30
	}
	o := lineOptions{codec: f.codec, flags: f.flags, baud: 115200, paced: true, flips: 0.01}
	r, s := noisyRig(t, f.medium, o, messages)
	s.sure = o.codec.checksum
	exchange(r, s, func(int) {})
	damaged := s.up.damaged + s.down.damaged
	t.Logf("%d messages each way: %d damaged ones came, %d copies, %d reconnects", messages, damaged, s.up.copies+s.down.copies, s.reconnects)
	most := 0
	if f.medium == overXBee {
		most = 2 // a checksum of 8 bits fits one in 256 frames with several wrong octets
	}
	if o.codec.checksum && damaged > most {
		t.Errorf("%d damaged messages were accepted", damaged)
	}
}

// oneLine is a network of one line, with a device or a radio on it.
type oneLine struct {
	*line
	radio *radio
	given []string
}

func newOneLine(t testing.TB, m medium, o lineOptions) *oneLine {
	n := &oneLine{}
	if m == overXBee {
		n.radio = newRadioOn(t, o)
		n.line = n.radio.line
	} else {
		n.line = newLine(t, o)
	}
	n.given = []string{"--serial", n.flag(m)}
	return n
}

func (o *oneLine) args() []string { return o.given }

func (o *oneLine) dial(t testing.TB) net.Conn {
	t.Helper()
	if o.radio != nil {
		return o.radio.node(t)
	}
	return o.attach(t)
}

// noisyRig is a gateway with one line and a stubborn device on it.
func noisyRig(t *testing.T, m medium, o lineOptions, messages int) (*rig, *stubborn) {
	t.Helper()
	o.tap = tapped(t, m)
	o.flags = append(slices.Clone(o.flags), "status_timeout=250ms")
	n := newOneLine(t, m, o)
	r := newRigOn(t, m, n, embedded, key("session.t_retry", "1s"), key("session.t_retry_min", "200ms"),
		key("session.t_retry_max", "1s"), key("session.n_retry", "100"), key("mqtt.max_queued_messages", "10000"))
	return r, newStubborn(r.dial(), "cli-1", messages)
}

// exchange has the device and the broker send all messages to each other, and calls
// progress with the number of messages that are still missing on the slower way.
func exchange(r *rig, s *stubborn, progress func(missing int)) {
	r.Helper()
	watcher := r.watch(s.upTopic())
	ended := make(chan error, 1)
	go func() { ended <- s.run() }()
	send := func() {
		for i := range s.down.arrived {
			if !s.down.has(i) {
				r.publish(s.downTopic(), s.down.message(i, s.size), 1)
			}
		}
	}
	<-s.subscribed
	send()
	since, before := time.Now(), -1
	for start := time.Now(); s.up.missing() > 0 || s.down.missing() > 0; {
		if time.Since(start) > lossyPatience || !r.gateway.running() {
			r.Fatalf("%d messages to the broker and %d to the device are missing", s.up.missing(), s.down.missing())
		}
		if m, ok := watcher.next(moment / 4); ok {
			s.up.take(m.payload)
		}
		missing := max(s.up.missing(), s.down.missing())
		progress(missing)
		if missing != before {
			since, before = time.Now(), missing
		}
		// An unprotected line can lose what is acknowledged: the publisher, who knows
		// that, repeats it.
		if !s.sure && time.Since(since) > 3*time.Second && s.down.missing() > 0 {
			since = time.Now()
			send()
		}
	}
	_ = s.conn.Close()
	if err := <-ended; err != nil {
		r.Error(err)
	}
}

// tapped judges what the gateway sends before it meets the noise.
func tapped(t *testing.T, m medium) func(packet []byte) {
	return func(packet []byte) {
		if m == overXBee {
			var err error
			if packet, err = heardOverTheAir(packet); err != nil {
				return
			}
		}
		recorded.add(packet)
		if err := judge(packet); err != nil {
			t.Errorf("the gateway sent %s: %v", shown(packet), err)
		}
	}
}

// TestReplug: a line is unplugged and plugged in again, as another terminal with the same
// name, while messages flow both ways: none is lost, and nobody starts the gateway again.
func TestReplug(t *testing.T) {
	t.Parallel()
	for _, m := range media {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			const cycles, perCycle, more = 20, 8, 4 * 8
			r, s := noisyRig(t, m, lineOptions{codec: m.codec(), baud: 115200}, cycles*perCycle+more)
			line := r.network.(*oneLine).line
			done := 0
			exchange(r, s, func(missing int) {
				switch {
				case !line.isPlugged():
					line.plug()
				case missing <= (cycles-1-done)*perCycle+more && done < cycles:
					done++
					line.unplug()
					if done%2 == 0 { // else it stays away for a moment
						line.plug()
					}
				}
			})
			if done != cycles {
				t.Errorf("the line was unplugged %d times, want %d", done, cycles)
			}
			t.Logf("%d copies, %d reconnects", s.up.copies+s.down.copies, s.reconnects)
			if !r.gateway.running() {
				t.Error("the gateway has ended")
			}
		})
	}
}
