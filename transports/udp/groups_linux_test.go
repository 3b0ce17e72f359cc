package udp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"mqttsn-gateway/transports"
)

// loopback is the interface that every test may use; it cannot multicast unless it is
// named, and has no route for IPv6 groups (see TestInNamespace).
func loopback(t testing.TB) *net.Interface {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	return lo
}

// freePort is a port that nobody has at the moment.
func freePort(t testing.TB) uint16 {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// groupOptions are those of a listener at host that hears one group on lo, at its own port
// or at another.
func groupOptions(t testing.TB, host string, ownPort bool) (o Options, group netip.AddrPort) {
	t.Helper()
	o = DefaultOptions()
	port := freePort(t)
	o.Listen = net.JoinHostPort(host, fmt.Sprint(port))
	if !ownPort {
		o.Listen = net.JoinHostPort(host, "0")
	}
	group = netip.AddrPortFrom(netip.MustParseAddr("225.1.1.1"), port)
	o.Groups, o.GroupInterfaces = []string{group.String()}, []string{"lo"}
	return o, group
}

// openShared opens a link whose port the test may share; only the platform's socket sees to
// that itself.
func openShared(t testing.TB, o Options, open opener) *Link {
	t.Helper()
	l := openLink(t, o, open)
	raw, err := l.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { shareWithGroups(int(fd)) }); err != nil {
		t.Fatal(err)
	}
	return l
}

// device is a client that searches: it hears the group, and asks from a socket of its own.
type device struct {
	ask  *net.UDPConn
	hear *ipv4.PacketConn
}

func newDevice(t testing.TB, group netip.AddrPort) *device {
	t.Helper()
	lo := loopback(t)
	ask, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ask.Close() })
	if err := ipv4.NewPacketConn(ask).SetMulticastInterface(lo); err != nil {
		t.Fatal(err)
	}
	hear, err := listenGroup(group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hear.Close() })
	for _, c := range []*net.UDPConn{ask, hear} {
		_ = c.SetReadDeadline(time.Now().Add(patience))
	}
	p := ipv4.NewPacketConn(hear)
	if err := errors.Join(p.JoinGroup(lo, &net.UDPAddr{IP: group.Addr().AsSlice()}), p.SetControlMessage(ipv4.FlagTTL, true)); err != nil {
		t.Fatal(err)
	}
	return &device{ask, p}
}

func (d *device) search(t testing.TB, group netip.AddrPort, data string) {
	t.Helper()
	if _, err := d.ask.WriteToUDPAddrPort([]byte(data), group); err != nil {
		t.Fatal(err)
	}
}

// heard is the next datagram to the group: its contents, TTL and sender.
func (d *device) heard(t testing.TB) (data string, ttl int, from netip.AddrPort) {
	t.Helper()
	b := make([]byte, 100)
	n, cm, src, err := d.hear.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n]), cm.TTL, src.(*net.UDPAddr).AddrPort()
}

// TestSearchIsHeardAndAnswered: on the link's own socket and on one of its own, a datagram
// to the group says so, and can be answered to the sender and to the group; what the
// group hears comes from the address to connect to.
func TestSearchIsHeardAndAnswered(t *testing.T) {
	lo := loopback(t)
	for _, host := range []string{"", "127.0.0.1"} {
		for _, ownPort := range []bool{true, false} {
			onEach(t, func(t *testing.T, open opener) {
				o, group := groupOptions(t, host, ownPort)
				l := openShared(t, o, open)
				got := collect(t, l)
				c := newDevice(t, group)
				c.search(t, group, "anyone?")
				d := wait(t, got)
				if local, index, _ := d.Local.AddrPort(); !d.Multicast || !local.Addr().IsUnspecified() || index != uint32(lo.Index) || local.Port() != group.Port() {
					t.Errorf("%q, own port %v: Multicast %v, Local %v", host, ownPort, d.Multicast, d.Local)
				}
				if d.Addr != localAddrOf(c.ask) || string(d.Data) != "anyone?" {
					t.Errorf("got %q from %v", d.Data, d.Addr)
				}
				d.Data = []byte("me")
				if sent, err := l.Send([]transports.Datagram{d}); sent != 1 || err != nil {
					t.Fatalf("Send: %d, %v", sent, err)
				}
				if b := read(t, c.ask); string(b) != "me" {
					t.Errorf("the device got %q", b)
				}
				if data, _, _ := c.heard(t); data != "anyone?" {
					t.Errorf("the group heard %q", data)
				}
				if err := l.Broadcast(d.Local, 0, []byte("all")); err != nil {
					t.Fatal(err)
				}
				if data, _, from := c.heard(t); data != "all" || from.Port() != l.Addr().Port() {
					t.Errorf("the group heard %q from %v", data, from)
				}
				if d := wait(t, got); string(d.Data) != "all" || !d.Multicast {
					t.Errorf("the link heard %q", d.Data) // its own, as any gateway on the host does
				}
				// What is for this gateway alone is told from the rest.
				asked := l.Addr()
				if host == "" {
					asked = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), asked.Port())
				}
				write(t, dial(t, asked), []byte("you"))
				if d := wait(t, got); d.Multicast || string(d.Data) != "you" {
					t.Errorf("unicast: Multicast %v, %q", d.Multicast, d.Data)
				}
			})
		}
	}
}

// TestHops: a search is answered as far as it reached, and never farther than allowed.
func TestHops(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		for _, host := range []string{"", "127.0.0.1"} {
			o, group := groupOptions(t, host, true)
			o.GroupHops = 5
			l := openShared(t, o, open)
			c := newDevice(t, group)
			for radius, want := range map[uint8]int{0: 5, 1: 1, 4: 4, 5: 5, 6: 5, 255: 5} {
				if err := l.Broadcast(transports.Addr{}, radius, []byte("x")); err != nil {
					t.Fatal(err)
				}
				if _, ttl, _ := c.heard(t); ttl != want {
					t.Errorf("radius %d: TTL %d, want %d", radius, ttl, want)
				}
			}
		}
	})
}

// TestNear: who asked on one interface is answered on that one.
func TestNear(t *testing.T) {
	lo := loopback(t)
	onEach(t, func(t *testing.T, open opener) {
		o, group := groupOptions(t, "", true)
		l := openShared(t, o, open)
		c := newDevice(t, group)
		at := func(ip string, index int) transports.Addr {
			return transports.IPAddr(netip.AddrPortFrom(netip.MustParseAddr(ip), 1883), uint32(index))
		}
		for i, test := range []struct {
			near  transports.Addr
			heard bool
		}{
			{transports.Addr{}, true},
			{at("0.0.0.0", lo.Index), true},
			{at("0.0.0.0", lo.Index+1000), false},
			{at("0.0.0.0", 0), true},
			{at("::", lo.Index), false},
			{at("127.0.0.1", 0), true},
			{at("192.0.2.77", 0), false},
			{at("::1", 0), false},
		} {
			err := l.Broadcast(test.near, 1, []byte{byte(i)})
			if !test.heard {
				if !errors.Is(err, transports.ErrNobody) {
					t.Errorf("%v: %v", test.near, err)
				}
				continue // what follows would come second
			}
			if err != nil {
				t.Fatalf("%v: %v", test.near, err)
			}
			if data, _, _ := c.heard(t); data != string([]byte{byte(i)}) {
				t.Errorf("%v: heard %x", test.near, data)
			}
		}
	})
}

func TestBroadcastErrors(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		none := openLink(t, testOptions("127.0.0.1"), open)
		if err := none.Broadcast(transports.Addr{}, 1, []byte("x")); !errors.Is(err, transports.ErrNobody) || none.Groups() != (GroupState{}) {
			t.Errorf("without groups: %v", err)
		}
		o, _ := groupOptions(t, "", true)
		o.MTU = 100
		l := openLink(t, o, open)
		if err := l.Broadcast(transports.Addr{}, 1, make([]byte, 101)); !errors.Is(err, errTooLarge) || l.Drops().Oversize != 1 {
			t.Errorf("too long: %v, %+v", err, l.Drops())
		}
		// An interface that has gone: nothing gets through, and nothing else suffers.
		gone := target{netip.MustParseAddrPort("225.1.1.1:1883"), nic{Interface: net.Interface{Index: 1 << 20, Name: "gone0"}}}
		was := l.groups.targets.Load()
		l.groups.targets.Store(&[]target{gone})
		if err := l.Broadcast(transports.Addr{}, 1, []byte("x")); err == nil || l.Drops().Unsendable != 1 {
			t.Errorf("nobody: %v, %+v", err, l.Drops())
		}
		both := append(slices.Clone(*was), gone)
		l.groups.targets.Store(&both)
		if err := l.Broadcast(transports.Addr{}, 1, []byte("x")); err != nil || l.Drops().Unsendable != 2 {
			t.Errorf("one of two: %v, %+v", err, l.Drops())
		}
		l.groups.targets.Store(was)
		_ = l.Close()
		if err := l.Broadcast(transports.Addr{}, 1, []byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// TestOneAtATime: what comes in through several sockets is handed on in turn.
func TestOneAtATime(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		o, group := groupOptions(t, "127.0.0.1", false)
		o.Groups = append(o.Groups, netip.AddrPortFrom(netip.MustParseAddr("225.1.1.2"), group.Port()).String())
		l := openLink(t, o, open)
		var inside, total atomic.Int32
		done := make(chan struct{}, 1)
		const each = 300
		serve(t, l, func(batch []transports.Datagram) {
			if inside.Add(1) != 1 {
				t.Error("two at a time")
			}
			if total.Add(int32(len(batch))) == 3*each {
				done <- struct{}{}
			}
			inside.Add(-1)
		})
		var all sync.WaitGroup
		for _, to := range []netip.AddrPort{l.Addr(), group, netip.MustParseAddrPort(o.Groups[1])} {
			c := newDevice(t, group)
			all.Go(func() {
				for range each {
					c.search(t, to, "x")
				}
			})
		}
		all.Wait()
		wait(t, done)
		if l.ReceiveDrops() != 0 {
			t.Errorf("%d dropped", l.ReceiveDrops())
		}
	})
}

// TestInterfacesComeAndGo plays the system's part: interfaces are joined when they come,
// and one that cannot be joined is told once and tried again.
func TestInterfacesComeAndGo(t *testing.T) {
	lo := loopback(t)
	with := func(flags net.Flags, addrs ...string) nic {
		n := nic{Interface: *lo}
		n.Flags = flags
		for _, a := range addrs {
			n.addrs = append(n.addrs, netip.MustParseAddr(a))
		}
		return n
	}
	up := with(net.FlagUp|net.FlagMulticast, "127.0.0.1")
	broken := nic{Interface: net.Interface{Index: 1 << 20, Name: "broken0", Flags: up.Flags}, addrs: up.addrs}
	var now []nic
	var failure error
	list := func() ([]nic, error) { return now, failure }
	o, group := groupOptions(t, "", true)
	o.GroupInterfaces = nil

	for why, n := range map[string][]nic{
		"no interface":       nil,
		"down":               {with(net.FlagMulticast, "127.0.0.1")},
		"cannot multicast":   {with(net.FlagUp, "127.0.0.1")},
		"no IPv4 address":    {with(up.Flags, "::1")},
		"broken0: no such d": {broken},
	} {
		now = n
		l, err := listen(o, newSocket, list, false)
		if err == nil {
			_ = l.Close()
			t.Errorf("%s: no error", why)
		} else if !strings.HasPrefix(err.Error(), "groups: cannot listen to "+group.String()) ||
			len(n) == 1 && n[0].Name == "broken0" && !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}

	now = []nic{up, broken}
	l, err := listen(o, newSocket, list, false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var log bytes.Buffer
	l.LogTo(slog.New(slog.NewTextHandler(&log, nil)))
	l.groups.report()
	c := newDevice(t, group)
	got := make(chan transports.Datagram, 10)
	ended := make(chan error, 1)
	go func() { // in place of Serve, which would look for interfaces too
		ended <- l.pump(t.Context(), l.conn, l.socket, func(batch []transports.Datagram) {
			for _, d := range batch {
				d.Data = bytes.Clone(d.Data)
				got <- d
			}
		})
	}()
	defer func() { _ = l.Close(); wait(t, ended) }()
	check := func(step string, joined int, failures uint64) {
		t.Helper()
		if err := l.groups.refresh(); err != nil {
			t.Fatal(err)
		}
		if s := l.Groups(); s.Joined != joined || s.Failures != failures {
			t.Errorf("%s: %+v", step, s)
		}
	}
	check("at first", 1, 2)
	c.search(t, group, "1")
	wait(t, got)
	now = []nic{broken}
	check("lo has gone", 0, 3)
	c.search(t, group, "2")
	now = []nic{up}
	check("lo is back", 1, 3)
	c.search(t, group, "3")
	if d := wait(t, got); string(d.Data) != "3" {
		t.Errorf("heard %q", d.Data)
	}
	failure = errors.New("no list")
	if err := l.groups.refresh(); !errors.Is(err, failure) || l.Groups().Joined != 1 {
		t.Errorf("no list: %v, %+v", err, l.Groups())
	}
	if text := log.String(); strings.Count(text, "is not heard") != 1 || strings.Count(text, "msg=\"listening to") != 2 || strings.Count(text, "no longer") != 1 {
		t.Errorf("logged:\n%s", text)
	}
}

// TestWatch: Serve itself looks for interfaces.
func TestWatch(t *testing.T) {
	o, _ := groupOptions(t, "", true)
	l := openLink(t, o, newSocket)
	looked := make(chan struct{})
	list := l.groups.list
	l.groups.every = time.Millisecond
	l.groups.list = func() ([]nic, error) {
		select {
		case looked <- struct{}{}:
		case <-time.After(time.Millisecond):
		}
		return list()
	}
	collect(t, l)
	wait(t, looked)
	wait(t, looked)
}

// TestGroupsThatCannotBe: the error says why not one group is heard.
func TestGroupsThatCannotBe(t *testing.T) {
	for _, test := range []struct {
		listen, group string
		named         []string
		want          string
	}{
		{"127.0.0.1:0", "225.1.1.1:1883", nil, "set group_interfaces to [lo]"},
		{"127.0.0.1:0", "[ff1e::1]:1883", []string{"lo"}, "does not speak their IP version"},
		{"[::1]:0", "225.1.1.1:1883", []string{"lo"}, "does not speak their IP version"},
		{"[::1]:0", "[ff02::77]:1883", []string{"lo"}, "ends at the local link"},
		{":0", "225.1.1.1:1883", []string{"none0"}, "none of group_interfaces (none0) is up"},
		{"127.0.0.1:0", "225.1.1.1:1883", []string{"none0"}, "has the address of listen 127.0.0.1:0"},
	} {
		o := DefaultOptions()
		o.Listen, o.Groups, o.GroupInterfaces = test.listen, []string{test.group}, test.named
		l, err := Listen(o)
		if err == nil {
			_ = l.Close()
			t.Errorf("%+v: no error", test)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// TestPortsAreShared: a port that only groups have is free for a listener, at one address
// and at every; one that a listener has is taken, for whom it was taken before.
func TestPortsAreShared(t *testing.T) {
	first, group := groupOptions(t, "127.0.0.1", false)
	a := openLink(t, first, newSocket)
	atAll := first
	atAll.Listen = fmt.Sprintf(":%d", group.Port())
	b := openLink(t, atAll, newSocket) // amid the ear of a
	if l, err := Listen(atAll); err == nil {
		_ = l.Close()
		t.Error("two listeners at every address have one port")
	} else if !strings.Contains(err.Error(), "another program") {
		t.Error(err)
	}
	one := atAll
	one.Listen = fmt.Sprintf("127.0.0.1:%d", group.Port())
	if l, err := Listen(one); err == nil {
		_ = l.Close()
		t.Error("a listener at one address took the port of one at every address")
	}
	c := openLink(t, first, newSocket) // an ear beside b, of the same user

	heard := []<-chan transports.Datagram{collect(t, a), collect(t, b), collect(t, c)}
	newDevice(t, group).search(t, group, "all of you")
	for _, got := range heard {
		if d := wait(t, got); !d.Multicast || string(d.Data) != "all of you" {
			t.Errorf("Multicast %v, %q", d.Multicast, d.Data)
		}
	}
}

// TestSearch: who only looks for gateways need not hear the group, though he would like to.
func TestSearch(t *testing.T) {
	o, group := groupOptions(t, "", false)
	taken, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(group.Port())}) // shares with nobody
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if l, err := Listen(o); err == nil {
		_ = l.Close()
		t.Fatal("Listen: no error")
	} else if !strings.Contains(err.Error(), fmt.Sprintf("UDP port %d is another program's", group.Port())) {
		t.Error(err)
	}
	l, err := Search(o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Groups().Joined != 0 || l.Groups().Failures == 0 {
		t.Errorf("%+v", l.Groups())
	}
	if err := ipv4.NewPacketConn(taken).JoinGroup(loopback(t), &net.UDPAddr{IP: group.Addr().AsSlice()}); err != nil {
		t.Fatal(err)
	}
	if err := l.Broadcast(transports.Addr{}, 0, []byte("anyone?")); err != nil {
		t.Fatal(err)
	}
	_ = taken.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 10)
	n, from, err := taken.ReadFromUDPAddrPort(b)
	if err != nil || string(b[:n]) != "anyone?" || from.Port() != l.Addr().Port() {
		t.Errorf("heard %q from %v: %v", b[:n], from, err)
	}
	if _, err := l.Send([]transports.Datagram{{Addr: localAddrOf(taken), Data: []byte("x")}}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Serve(ctx, func([]transports.Datagram) {}); err != nil {
		t.Error(err)
	}
}

// TestOnlyGroups: where the platform lets an ear hear more, the rest is left to others.
func TestOnlyGroups(t *testing.T) {
	local := transports.IPAddr(netip.MustParseAddrPort("192.0.2.1:1883"), 0)
	var got []string
	recv := onlyGroups(func(batch []transports.Datagram) {
		for _, d := range batch {
			if !d.Multicast {
				t.Errorf("%q is not marked", d.Data)
			}
			got = append(got, string(d.Data))
		}
	})
	recv([]transports.Datagram{
		{Local: local, Data: []byte("for others")},
		{Local: local, Data: []byte("group"), Multicast: true},
		{Data: []byte("not told")},
	})
	recv([]transports.Datagram{{Local: local, Data: []byte("for others")}})
	if !slices.Equal(got, []string{"group", "not told"}) {
		t.Errorf("%q", got)
	}
}
