package serial

import (
	"strings"
	"testing"
	"time"
)

func TestDefaultOptions(t *testing.T) {
	o := DefaultOptions()
	if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), "device: ") {
		t.Errorf("without a device: %v", err)
	}
	o.Device = "/dev/ttyUSB0"
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	if o.rate() != 11520 || o.queue() != 23040 {
		t.Errorf("rate %d, queue %d", o.rate(), o.queue())
	}
	if o.Baud = 1200; o.queue() != minQueue {
		t.Errorf("queue %d", o.queue())
	}
	if o.MaxPayload = 100; o.payload() != 100 {
		t.Errorf("payload %d", o.payload())
	}
}

func TestBounds(t *testing.T) {
	for _, test := range []struct {
		key      string
		set      func(*Options, int)
		min, max int
	}{
		{"baud", func(o *Options, n int) { o.Baud = n }, 300, 4_000_000},
		{"api_mode", func(o *Options, n int) { o.APIMode = n }, 1, 2},
		{"max_payload", func(o *Options, n int) { o.MaxPayload = n }, 16, 1000},
		{"queue", func(o *Options, n int) { o.Queue = n }, 256, 1 << 20},
		{"node_queue", func(o *Options, n int) { o.NodeQueue = n }, 128, 1 << 20},
		{"window", func(o *Options, n int) { o.Window = n }, 1, 32},
		{"status_timeout", func(o *Options, n int) { o.StatusTimeout = time.Duration(n) * time.Millisecond }, 100, 300_000},
	} {
		for _, n := range []int{test.min - 1, test.min, test.max, test.max + 1, -1} {
			o := optionsFor("/dev/ttyUSB0", framingXBee)
			test.set(&o, n)
			err := o.Validate()
			if allowed := test.min <= n && n <= test.max || n == 0 && err == nil; allowed != (err == nil) {
				t.Errorf("%s %d: %v", test.key, n, err)
			}
			if err != nil && !strings.HasPrefix(err.Error(), test.key+": ") {
				t.Errorf("%s %d: the error does not name the key: %v", test.key, n, err)
			}
		}
	}
}

func TestChoices(t *testing.T) {
	for _, test := range []struct {
		key string
		set func(*Options)
		ok  bool
	}{
		{"device", func(o *Options) { o.Device = "a\x00b" }, false},
		{"framing", func(o *Options) { o.Framing = "hdlc" }, false},
		{"framing", func(o *Options) { o.Framing = "" }, false},
		{"framing", func(o *Options) { o.Framing = "cobs" }, true},
		{"xbee_firmware", func(o *Options) { o.XBeeFirmware = "thread" }, false},
		{"xbee_firmware", func(o *Options) { o.XBeeFirmware = "802.15.4" }, true},
		{"crc", func(o *Options) { o.CRC = true }, false},
		{"crc", func(o *Options) { o.CRC, o.Framing = true, "xbee" }, false},
		{"crc", func(o *Options) { o.CRC, o.Framing = true, "slip" }, true},
		{"max_payload", func(o *Options) { o.MaxPayload = 0 }, true},
		{"queue", func(o *Options) { o.Queue = 0 }, true},
		{"window", func(o *Options) { o.Window = 0 }, false},
	} {
		o := optionsFor("/dev/ttyUSB0", framingRaw)
		test.set(&o)
		err := o.Validate()
		if test.ok != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), test.key+": ") {
			t.Errorf("%s: %+v: %v", test.key, o, err)
		}
	}
}
