package forward

import (
	"net/netip"
	"strings"
	"testing"
)

func valid() Options {
	o := DefaultOptions()
	o.To = "192.0.2.1:1883"
	return o
}

func TestTo(t *testing.T) {
	for to, ok := range map[string]bool{
		"192.0.2.1:1883":       true,
		"[2001:db8::1]:1":      true,
		"[fe80::1%eth0]:65535": true,
		"gateway.example:1883": true,
		"localhost:1883":       true,
		"":                     false,
		"192.0.2.1":            false,
		"192.0.2.1:":           false,
		"192.0.2.1:0":          false,
		"192.0.2.1:65536":      false,
		"192.0.2.1:mqtt-sn":    false,
		":1883":                false,
		"0.0.0.0:1883":         false,
		"[::]:1883":            false,
		"225.1.1.1:1883":       false,
		"2001:db8::1:1883":     false,
		"udp://192.0.2.1:1883": false,
	} {
		o := valid()
		o.To = to
		err := o.Validate()
		if ok != (err == nil) {
			t.Errorf("%q: %v", to, err)
		}
		if err != nil && (!strings.HasPrefix(err.Error(), "to: ") || !strings.Contains(err.Error(), "HOST:PORT")) {
			t.Errorf("%q: the error names neither key nor form: %v", to, err)
		}
	}
	o := valid()
	o.To = "[fe80::1%eth0]:1884"
	if host, port := o.gateway(); host != "fe80::1%eth0" || port != 1884 {
		t.Errorf("got %q %d", host, port)
	}
}

func TestLocal(t *testing.T) {
	for local, want := range map[string]string{
		":0":                    "invalid AddrPort",
		":1884":                 "invalid AddrPort",
		"0.0.0.0:1884":          "invalid AddrPort",
		"[::]:1884":             "invalid AddrPort",
		"192.0.2.7:0":           "192.0.2.7:0",
		"[::ffff:192.0.2.7]:80": "192.0.2.7:80",
		"[fe80::1%eth0]:1884":   "[fe80::1%eth0]:1884",
		"":                      "",
		"192.0.2.7":             "",
		"192.0.2.7:65536":       "",
		"gateway.example:1":     "",
		"225.1.1.1:1884":        "",
	} {
		o := valid()
		o.Local = local
		err := o.Validate()
		if (want != "") != (err == nil) {
			t.Errorf("%q: %v", local, err)
		}
		if err != nil && (!strings.HasPrefix(err.Error(), "local: ") || !strings.Contains(err.Error(), "HOST:PORT")) {
			t.Errorf("%q: the error names neither key nor form: %v", local, err)
		}
		if got, err := o.local(); err == nil && got.String() != want {
			t.Errorf("%q: got %v, want %s", local, got, want)
		}
	}
	if got, _ := (Options{Local: ":1884"}).local(); got != netip.AddrPortFrom(netip.Addr{}, 1884) {
		t.Errorf("got %v", got)
	}
}

func TestBounds(t *testing.T) {
	for _, test := range []struct {
		key      string
		set      func(*Options, int)
		min, max int
	}{
		{"mtu", func(o *Options, n int) { o.MTU = n }, 64, 65507},
		{"queue", func(o *Options, n int) { o.Queue, o.MTU = n, 64 }, 1024, 64 << 20},
		{"queue", func(o *Options, n int) { o.Queue, o.MTU = n, 2000 }, 2000, 64 << 20},
	} {
		for _, n := range []int{test.min - 1, test.min, test.max, test.max + 1} {
			o := valid()
			test.set(&o, n)
			err := o.Validate()
			if allowed := test.min <= n && n <= test.max; allowed != (err == nil) {
				t.Errorf("%s %d: %v", test.key, n, err)
			}
			if err != nil && !strings.HasPrefix(err.Error(), test.key+": ") {
				t.Errorf("%s %d: the error does not name the key: %v", test.key, n, err)
			}
		}
	}
}
