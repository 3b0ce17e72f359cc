package serial

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/transports/serial/framing"
	"mqttsn-gateway/transports/serial/xbee"
)

// probeFake probes a fake port in a bubble.
func probeFake(t *testing.T, o Options, p *fakePort) ProbeResult {
	t.Helper()
	o.Device = "fake"
	result, err := probe(context.Background(), o, &fakeDevice{port: p})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// TestProbeLine tells silence, frames and garbage apart.
func TestProbeLine(t *testing.T) {
	frames := func(f framing.Framing) (b []byte) {
		for i := range uint32(50) {
			b = f.Append(b, publish(i, 40))
		}
		return b
	}
	random := rand.New(rand.NewPCG(3, 4))
	noise := make([]byte, 2000)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	cobs := framing.COBS(true)
	for _, test := range []struct {
		name   string
		octets []byte
		want   Heard
	}{
		{"nothing", nil, Silence},
		{"frames", frames(cobs), Frames},
		{"from the middle of one", frames(cobs)[7:], Frames},
		{"another framing", frames(framing.SLIP(false)), Garbage},
		{"noise", noise, Garbage},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := optionsFor("fake", framingCOBS)
			o.CRC = true
			p := newFakePort(o.Baud)
			if len(test.octets) > 0 {
				p.in <- test.octets
			}
			result := probeFake(t, o, p)
			if result.Heard != test.want || result.Octets != uint64(len(test.octets)) || result.Module.Answers {
				t.Errorf("%s: %v: %+v", test.name, result.Heard, result)
			}
		})
	}
	for _, text := range [][]byte{noise, []byte("login: root\r\nPassword: \r\nwelcome to this machine\r\n# ")} {
		synctest.Test(t, func(t *testing.T) {
			p := newFakePort(115200)
			p.in <- text
			if result := probeFake(t, optionsFor("fake", framingRaw), p); result.Heard != Garbage {
				t.Errorf("raw: %+v", result)
			}
		})
	}
}

// TestProbeModule asks a module in either mode, whatever is configured.
func TestProbeModule(t *testing.T) {
	for mode := 1; mode <= 2; mode++ {
		synctest.Test(t, func(t *testing.T) {
			values := map[string][]byte{
				"AP": {byte(mode)}, "VR": {0x40, 0x5F}, "SH": {0x00, 0x13, 0xA2, 0x00}, "SL": {0x40, 0x0A, 0x7E, 0x11},
				"NP": {0x00, 0x54},
			}
			o := optionsFor("fake", framingXBee)
			o.APIMode = 3 - mode
			p := newFakePort(o.Baud)
			decoder := framing.XBee(mode).NewDecoder()
			p.heard = func(octets []byte) {
				decoder.Decode(octets, func(packet []byte) {
					f, err := xbee.Parse(packet)
					if err != nil {
						t.Error(err)
						return
					}
					q := f.(*xbee.ATCommand)
					answer := xbee.ATResponse{ID: q.ID, Name: q.Name, Value: values[string(q.Name[:])]}
					p.in <- framing.XBee(mode).Append(nil, answer.Append(nil))
				})
			}
			start := time.Now()
			result := probeFake(t, o, p)
			want := Module{Answers: true, APIMode: mode, Firmware: 0x405F, Address: 0x0013A200_400A7E11, MaxPayload: 84}
			if result.Module != want || result.Heard != Frames || result.Frames != 5 {
				t.Errorf("mode %d: %+v", mode, result)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestProbeOtherModules: one that does not answer, one that does not know what it is
// asked, one with a number that means nothing.
func TestProbeOtherModules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := optionsFor("fake", framingXBee)
		start := time.Now()
		if result := probeFake(t, o, newFakePort(o.Baud)); result.Module.Answers || result.Heard != Silence {
			t.Errorf("%+v", result)
		}
		if took := time.Since(start); took > probeTime+time.Second {
			t.Errorf("it took %v", took)
		}
		p := newFakePort(o.Baud)
		p.in <- []byte("OK\rERROR\r")
		if result := probeFake(t, o, p); result.Module.Answers || result.Heard != Garbage {
			t.Errorf("%+v", result)
		}
	})
	var a answers
	a.take(xbee.ATResponse{ID: 5, Name: [2]byte{'N', 'P'}, Value: []byte{0xFF}}.Append(nil))
	a.take(xbee.ATResponse{ID: 2, Name: [2]byte{'V', 'R'}, Status: 2}.Append(nil))
	a.take(xbee.ATResponse{ID: 1, Name: [2]byte{'V', 'R'}, Value: []byte{1}}.Append(nil))
	a.take(xbee.ATResponse{ID: 3, Name: [2]byte{'S', 'H'}, Value: make([]byte, 9)}.Append(nil))
	a.take(xbee.ModemStatus{}.Append(nil))
	a.take(nil)
	if m := a.module(); m != (Module{Answers: true}) {
		t.Errorf("%+v", m)
	}
}

// TestProbeErrors: a port that does not open, one that is lost, and an end by the context.
func TestProbeErrors(t *testing.T) {
	o := optionsFor(t.TempDir()+"/none", framingRaw)
	if _, err := Probe(t.Context(), o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no device: %v", err)
	}
	o.Baud = 1
	if _, err := Probe(t.Context(), o); err == nil {
		t.Error("bad options pass")
	}
	synctest.Test(t, func(t *testing.T) {
		p := newFakePort(9600)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := probe(ctx, optionsFor("fake", framingRaw), &fakeDevice{port: p}); err != nil {
			t.Errorf("canceled: %v", err)
		}
		close(p.gone)
		for _, f := range []string{framingRaw, framingXBee} {
			if _, err := probe(t.Context(), optionsFor("fake", f), &fakeDevice{port: p}); !errors.Is(err, errUnplugged) {
				t.Errorf("%s: lost: %v", f, err)
			}
		}
	})
}
