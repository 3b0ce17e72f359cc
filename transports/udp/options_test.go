package udp

import (
	"net/netip"
	"strings"
	"testing"
)

func TestDefaultOptionsAreValid(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestListenAddresses(t *testing.T) {
	for listen, ok := range map[string]bool{
		"127.0.0.1:1883":     true,
		":1883":              true,
		"0.0.0.0:1883":       true,
		"[::]:0":             true,
		"[fe80::1%eth0]:1":   true,
		"localhost:65535":    true,
		"":                   false,
		"127.0.0.1":          false,
		"127.0.0.1:":         false,
		"127.0.0.1:65536":    false,
		"127.0.0.1:-1":       false,
		"127.0.0.1:mqtt-sn":  false,
		"::1:1883":           false,
		"225.1.1.1:1883":     false,
		"[ff02::1%lo]:1883":  false,
		"udp://0.0.0.0:1883": false,
	} {
		o := DefaultOptions()
		o.Listen = listen
		err := o.Validate()
		if ok != (err == nil) {
			t.Errorf("%q: %v", listen, err)
		}
		if err != nil && (!strings.HasPrefix(err.Error(), "listen: ") || !strings.Contains(err.Error(), "HOST:PORT")) {
			t.Errorf("%q: the error names neither key nor form: %v", listen, err)
		}
	}
}

func TestGroupOptions(t *testing.T) {
	for group, why := range map[string]string{
		"225.1.1.1:1883":                  "",
		"[ff1e:feed:caca:dead::1]:1883":   "",
		"[::ffff:225.1.1.1]:1883":         "",
		"225.1.1.1":                       "ADDRESS:PORT",
		"225.1.1.1:0":                     "port is 0",
		"192.0.2.1:1883":                  "not that of a multicast group",
		"255.255.255.255:1883":            "not that of a multicast group",
		"[ff02::1%eth0]:1883":             "group_interfaces",
		"group.example:1883":              "ADDRESS:PORT",
		"":                                "ADDRESS:PORT",
		"225.1.1.2:1 and 225.1.1.2:1":     "twice",
		"225.1.1.2:1 and ::ffff:e101:102": "ADDRESS:PORT",
	} {
		o := DefaultOptions()
		o.Groups = strings.Split(group, " and ")
		switch err := o.Validate(); {
		case (err == nil) != (why == ""):
			t.Errorf("%q: %v", group, err)
		case err != nil && (!strings.HasPrefix(err.Error(), "groups: ") || !strings.Contains(err.Error(), why)):
			t.Errorf("%q: %v, want %q", group, err, why)
		}
	}
	o := DefaultOptions()
	o.GroupInterfaces = []string{"eth0", ""}
	if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), "group_interfaces: ") {
		t.Errorf("an interface without a name: %v", err)
	}
	o = DefaultOptions()
	o.Listen = "225.1.1.1:1883"
	if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "groups") {
		t.Errorf("a group to listen at: %v", err)
	}
}

func TestBounds(t *testing.T) {
	for _, test := range []struct {
		key      string
		set      func(*Options, int)
		min, max int
	}{
		{"mtu", func(o *Options, n int) { o.MTU = n }, 64, 65507},
		{"receive_buffer", func(o *Options, n int) { o.ReceiveBuffer = n }, 0, 1 << 30},
		{"send_buffer", func(o *Options, n int) { o.SendBuffer = n }, 0, 1 << 30},
		{"batch", func(o *Options, n int) { o.Batch = n }, 1, 1024},
		{"group_hops", func(o *Options, n int) { o.GroupHops, o.Groups = n, []string{"225.1.1.1:1883"} }, 1, 255},
	} {
		for _, n := range []int{test.min - 1, test.min, test.max, test.max + 1} {
			o := DefaultOptions()
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

// TestListenErrors: whoever reads the error knows which address failed and what to do.
func TestListenErrors(t *testing.T) {
	taken := openLink(t, testOptions("127.0.0.1"), newSocket)
	for listen, want := range map[string][]string{
		taken.Addr().String(): {taken.Addr().String(), "another program", "--udp"},
		"192.0.2.1:0":         {"192.0.2.1:0", "no interface", "--udp"},
		"nonsense.invalid:1":  {"nonsense.invalid:1", "resolved"},
		"127.0.0.1:99999":     {"127.0.0.1:99999", "65535"},
	} {
		o := DefaultOptions()
		o.Listen = listen
		l, err := Listen(o)
		if err == nil {
			_ = l.Close()
			t.Errorf("%s: no error", listen)
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q is missing in: %v", listen, part, err)
			}
		}
	}
	if got := listenError("127.0.0.1:80", errForbidden).Error(); !strings.Contains(got, "above 1023") {
		t.Errorf("permission: %s", got)
	}
}

func TestNames(t *testing.T) {
	l := openLink(t, testOptions("127.0.0.1"), newSocket)
	if l.Addr().Port() == 0 || l.Addr().Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("Addr: %v", l.Addr())
	}
	if want := "udp " + l.Addr().String(); l.Name() != want {
		t.Errorf("Name: %q, want %q", l.Name(), want)
	}
	if l.MTU() != DefaultOptions().MTU {
		t.Errorf("MTU: %d", l.MTU())
	}
	if l.ReceiveBuffer() <= 0 || l.SendBuffer() <= 0 {
		t.Errorf("buffers: %d, %d", l.ReceiveBuffer(), l.SendBuffer())
	}
}
