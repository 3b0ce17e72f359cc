package embedded

import (
	"net"
	"strings"
	"testing"

	"mqttsn-gateway/broker/mqtt"
)

// listenAt is the options of a listener at that address.
func listenAt(addr string, change ...func(*ListenerOptions)) ListenerOptions {
	o := DefaultListenerOptions()
	o.Listen = addr
	for _, f := range change {
		f(&o)
	}
	return o
}

func domain(d string) func(*ListenerOptions) {
	return func(o *ListenerOptions) { o.SocketDomain = d }
}

func TestListenerOptions(t *testing.T) {
	for _, addr := range []string{
		":0", "127.0.0.1:1883", "[::1]:1883", "[::]:1883", "[fe80::1%eth0]:1883", "localhost:1883",
		"unix:/run/gateway/mqtt.sock", "unix:mqtt.sock", "unix:/with,odd=signs:0",
	} {
		if err := listenAt(addr).Validate(); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for _, addr := range []string{
		"", "1883", "localhost", ":", ":65536", ":-1", ":mqtt", "::1:1883", "[::1]", "tcp://:1883",
		"unix:", "unix:@abstract", "unix:/nul\x00", "unix:/" + strings.Repeat("x", maxSocketPath),
	} {
		if err := listenAt(addr).Validate(); err == nil || !strings.HasPrefix(err.Error(), "listen: ") {
			t.Errorf("%q: %v", addr, err)
		}
	}
	for _, c := range []struct{ addr, domain string }{
		{"unix:/x", domainIPv4}, {"127.0.0.1:1883", domainIPv6}, {"[::1]:1883", domainIPv4}, {":1883", "IPv4"},
	} {
		if err := listenAt(c.addr, domain(c.domain)).Validate(); err == nil || !strings.HasPrefix(err.Error(), "socket_domain: ") {
			t.Errorf("%v: %v", c, err)
		}
	}
	for _, mode := range []string{"", "0o660", "-1", "1777", "0888", "660 "} {
		o := listenAt("unix:/x", func(o *ListenerOptions) { o.SocketMode = mode })
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), "socket_mode: ") {
			t.Errorf("%q: %v", mode, err)
		}
	}
}

// canReach reports whether somebody listens at a port of that address of this machine.
func canReach(host string, addr net.Addr) bool {
	_, port, _ := net.SplitHostPort(addr.String())
	conn, err := net.Dial("tcp", net.JoinHostPort(host, port))
	if err == nil {
		conn.Close()
	}
	return err == nil
}

func TestListenerAddresses(t *testing.T) {
	const four, six = 1, 2
	for _, c := range []struct {
		options ListenerOptions
		want    int
	}{
		{listenAt("127.0.0.1:0"), four},
		{listenAt("[::1]:0"), six},
		{listenAt(":0"), four | six},
		{listenAt("[::]:0"), four | six},
		{listenAt("0.0.0.0:0"), four},
		{listenAt(":0", domain(domainIPv4)), four},
		{listenAt(":0", domain(domainIPv6)), six},
		{listenAt("[::]:0", domain(domainIPv6)), six},
		{listenAt("localhost:0", domain(domainIPv4)), four},
	} {
		b := newBroker(t, func(o *Options) { o.Listeners = []ListenerOptions{c.options} })
		got := 0
		if canReach("127.0.0.1", b.Addrs()[0]) {
			got |= four
		}
		if canReach("::1", b.Addrs()[0]) {
			got |= six
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if got != c.want {
			t.Errorf("%+v: reached by %02b, want %02b", c.options, got, c.want)
		}
	}
}

// A name stands for all of its addresses, and clients find the broker at each.
func TestListenerName(t *testing.T) {
	b := serve(t, func(o *Options) { o.Listeners = listeners("localhost:0") })
	ips, err := net.LookupIP("localhost")
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range ips {
		if l, err := net.Listen("tcp", net.JoinHostPort(ip.String(), "0")); err != nil {
			continue // the machine does not have the address that its file of names says
		} else {
			l.Close()
		}
		if !canReach(ip.String(), b.Addrs()[0]) {
			t.Errorf("not at %s, but at %v", ip, b.Addrs())
		}
	}
	for _, addr := range b.Addrs() {
		dialAt(t, addr, mqtt.V5).connect("")
	}
}

// A link-local address is one of an interface.
func TestListenerZone(t *testing.T) {
	if c, err := Listen(listenAt("[fe80::1%nowhere0]:0")); err == nil {
		c.Close()
		t.Error("it listens at an interface that does not exist")
	}
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			ip, ok := a.(*net.IPNet)
			if !ok || ip.IP.To4() != nil || !ip.IP.IsLinkLocalUnicast() || i.Flags&net.FlagUp == 0 {
				continue
			}
			b := serve(t, func(o *Options) { o.Listeners = listeners("[" + ip.IP.String() + "%" + i.Name + "]:0") })
			login(t, b, mqtt.V5, "").quiet()
			return
		}
	}
}

func TestIPv6Client(t *testing.T) {
	b := serve(t, func(o *Options) { o.Listeners = listeners("[::1]:0") })
	sub := subscribed(t, b, "-V", "mqttv5", "-t", "six")
	mosquitto(t, b, "pub", "-V", "mqttv5", "-t", "six", "-m", "hello")
	sub.gets("six 0 0 hello")
}

func TestListenErrors(t *testing.T) {
	for addr, want := range map[string]string{
		"nowhere.invalid:1883": "choose another address",
		"192.0.2.1:0":          "no such address",
	} {
		_, err := Listen(listenAt(addr))
		if err == nil || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if _, err := Listen(listenAt("nonsense")); err == nil {
		t.Error("it listens at nonsense")
	}
}
