package doctor

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"

	"mqttsn-gateway/transports/serial"
)

// line is a device that speaks at one speed.
type line struct {
	baud   int
	result serial.ProbeResult // at that speed
	other  serial.ProbeResult // at any other
	err    error

	tried []int
}

func (l *line) probe(_ context.Context, o serial.Options) (serial.ProbeResult, error) {
	l.tried = append(l.tried, o.Baud)
	if o.Baud == l.baud {
		return l.result, l.err
	}
	return l.other, l.err
}

func lineOptions(framing string) serial.Options {
	o := serial.DefaultOptions()
	o.Device, o.Framing = byID, framing
	return o
}

func TestSerialLines(t *testing.T) {
	module := serial.Module{Answers: true, APIMode: 2, Firmware: 0x21A7, Address: 0x0013A200400A0127, MaxPayload: 84}
	with := func(change func(*serial.Module)) serial.ProbeResult {
		m := module
		change(&m)
		return serial.ProbeResult{Heard: serial.Frames, Frames: 5, Octets: 80, Module: m}
	}
	same := func(*serial.Module) {}
	garbage := serial.ProbeResult{Heard: serial.Garbage, Octets: 40}
	frames := serial.ProbeResult{Heard: serial.Frames, Octets: 60, Frames: 3}
	for _, c := range []struct {
		name    string
		framing string
		line    line
		status  Status
		want    []string
	}{
		{"frames", "raw", line{baud: 115200, result: frames}, OK, []string{"(raw, 115200 baud)", "3 packets in 60 octets"}},
		{"silence", "slip", line{baud: 115200}, OK, []string{"nothing was heard", "cannot be judged"}},
		{"garbage", "cobs", line{baud: 115200, result: garbage, other: garbage}, Warn, []string{"40 octets with 0 good packets", "at no usual speed", "--serial " + byID + ",framing=cobs"}},
		{"another speed", "raw", line{baud: 38400, result: frames, other: garbage}, Fail, []string{"speaks at 38400 baud", "--serial " + byID + ",baud=38400"}},
		{"module", "xbee", line{baud: 115200, result: with(same)}, OK, []string{"XBee 0013A200400A0127 answers, firmware 21A7"}},
		{"shy module", "xbee", line{baud: 115200, result: with(func(m *serial.Module) { *m = serial.Module{Answers: true} })}, OK, []string{"an XBee module answers"}},
		{"module's speed", "xbee", line{baud: 9600, result: with(same)}, Fail, []string{"speaks at 9600 baud", "baud=9600,framing=xbee"}},
		{"module's mode", "xbee", line{baud: 115200, result: with(func(m *serial.Module) { m.APIMode = 1 })}, Fail, []string{"in API mode 1 and the gateway in 2", "framing=xbee,api_mode=1", "AP 2, WR"}},
		{"module's payload", "xbee", line{baud: 115200, result: with(func(m *serial.Module) { m.MaxPayload = 66 })}, Warn, []string{"carries 66 octets per packet (NP), and the gateway sends up to 80", "framing=xbee,max_payload=66"}},
		{"no module", "xbee", line{baud: 115200}, Warn, []string{"no XBee module answers", "AP 2, WR", "--serial " + byID}},
		{"no module, but something", "xbee", line{baud: 115200, result: garbage}, Warn, []string{"something speaks", "AP 2, WR"}},
		{"lost", "raw", line{err: errors.New("the device is gone")}, Fail, []string{"the device is gone"}},
		{"another was faster", "raw", line{err: syscall.EBUSY}, Fail, []string{"in use by another program"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := one(t, newMachine(t, usb).serialLines(t.Context(), []serial.Options{lineOptions(c.framing)}, c.line.probe))
			want(t, f, c.status, append([]string{"serial line " + byID}, c.want...)...)
		})
	}
	l := line{baud: 1, other: garbage}
	newMachine(t, usb).serialLines(t.Context(), []serial.Options{lineOptions("raw")}, l.probe)
	if !slices.Equal(l.tried, []int{115200, 9600, 57600, 38400}) {
		t.Errorf("tried %v", l.tried)
	}
}

// Ports that do not open are not listened to, and an end is an end.
func TestSerialLinesThatAreNotTried(t *testing.T) {
	m := newMachine(t, usb).refuse("/dev/ttyUSB0", node{mode: 0o660, gid: 20})
	var l line
	if f := m.serialLines(t.Context(), []serial.Options{lineOptions("raw")}, l.probe); len(f) > 0 || len(l.tried) > 0 {
		t.Errorf("got %+v after %v", f, l.tried)
	}
	for name, ends := range map[string]int{"at once": 1, "at other speeds": 2} {
		ctx, cancel := context.WithCancel(t.Context())
		tried := 0
		f := newMachine(t, usb).serialLines(ctx, []serial.Options{lineOptions("raw")}, func(context.Context, serial.Options) (serial.ProbeResult, error) {
			if tried++; tried == ends {
				cancel()
			}
			return serial.ProbeResult{Heard: serial.Garbage}, nil
		})
		if len(f) > 0 || tried != ends {
			t.Errorf("%s: got %+v after %d", name, f, tried)
		}
		cancel()
	}
}

func TestLineFlag(t *testing.T) {
	o := serial.DefaultOptions()
	o.Device, o.Framing, o.CRC, o.MaxPayload = "/dev/x y", "slip", true, 100
	if got := lineFlag(o); got != "--serial '/dev/x y,framing=slip,crc=true,max_payload=100'" {
		t.Errorf("got %s", got)
	}
	o = serial.DefaultOptions()
	o.Device = "/dev/ttyUSB0"
	if got := lineFlag(o); got != "--serial /dev/ttyUSB0,framing=raw" {
		t.Errorf("got %s", got)
	}
}
