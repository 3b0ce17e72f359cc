package udp

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"mqttsn-gateway/transports"
)

// TestAnswerLeavesFromTheAddressThatWasAsked: a connected socket takes no other. Every
// address of 127/8 is this machine's.
func TestAnswerLeavesFromTheAddressThatWasAsked(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		l := openLink(t, testOptions(""), open)
		echo(t, l)
		for _, host := range append(loopbacks(), "127.0.0.2", "127.1.2.3") {
			c := dial(t, netip.AddrPortFrom(netip.MustParseAddr(host), l.Addr().Port()))
			write(t, c, []byte(host))
			if got := read(t, c); string(got) != host {
				t.Errorf("%s answered %q", host, got)
			}
		}
	})
}

// TestIPv4Wildcard does the same on a machine without IPv6, where the wildcard socket is
// an IPv4 one.
func TestIPv4Wildcard(t *testing.T) {
	for name, open := range sockets {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4zero})
		if err != nil {
			t.Fatal(err)
		}
		l := &Link{conn: conn, mtu: 100, addr: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
		t.Cleanup(func() { _ = l.Close() })
		if l.socket, err = open(conn, Options{MTU: 100, Batch: 4}, &l.dropped); err != nil {
			t.Fatal(err)
		}
		echo(t, l)
		for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
			c := dial(t, netip.AddrPortFrom(netip.MustParseAddr(host), l.Addr().Port()))
			write(t, c, []byte(host))
			if got := read(t, c); string(got) != host {
				t.Errorf("%s: %s answered %q", name, host, got)
			}
		}
	}
}

// TestBroadcast: Local names the interface, and an answer that carries it finds its way.
func TestBroadcast(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for _, wildcard := range []string{"udp", "udp4"} {
		conn, err := net.ListenUDP(wildcard, &net.UDPAddr{})
		if err != nil {
			t.Fatal(err)
		}
		port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		l := &Link{conn: conn, mtu: 100}
		t.Cleanup(func() { _ = l.Close() })
		if l.socket, err = newSocket(conn, Options{MTU: 100, Batch: 4}, &l.dropped); err != nil {
			t.Fatal(err)
		}
		got := collect(t, l)
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.WriteTo([]byte("anyone?"), &net.UDPAddr{IP: net.IPv4(127, 255, 255, 255), Port: int(port)}); err != nil {
			t.Fatal(err)
		}
		d := wait(t, got)
		if want := transports.IPAddr(netip.AddrPortFrom(netip.IPv4Unspecified(), port), uint32(lo.Index)); d.Local != want {
			t.Errorf("%s: Local is %v, want %v", wildcard, d.Local, want)
		}
		if !d.Multicast {
			t.Errorf("%s: a broadcast is not told from what is for this gateway alone", wildcard)
		}
		if sent, err := l.Send([]transports.Datagram{d}); sent != 1 {
			t.Fatalf("%s: Send: %v", wildcard, err)
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 10)); err != nil {
			t.Errorf("%s: %v", wildcard, err)
		}
	}
}

// TestStaleLocal: the interface that had the address is gone, its clients are not.
func TestStaleLocal(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		l := openLink(t, testOptions(""), open)
		for host, stale := range map[string]string{"127.0.0.1": "192.0.2.1", "::1": "2001:db8::1"} {
			c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
			if err != nil && host == "::1" {
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			local := transports.IPAddr(netip.AddrPortFrom(netip.MustParseAddr(stale), 1883), 0)
			sent, err := l.Send([]transports.Datagram{{Addr: localAddrOf(c), Local: local, Data: []byte("x")}})
			if sent != 1 || err != nil {
				t.Fatalf("%s: Send: %d, %v", host, sent, err)
			}
			_ = c.SetReadDeadline(time.Now().Add(patience))
			read(t, c)
		}
	})
}

func TestLocalOf(t *testing.T) {
	addr := func(ip string, zone uint32) transports.Addr {
		return transports.IPAddr(netip.AddrPortFrom(netip.MustParseAddr(ip), 1883), zone)
	}
	for dst, want := range map[string]transports.Addr{
		"192.0.2.1":        addr("192.0.2.1", 0),
		"::ffff:192.0.2.1": addr("192.0.2.1", 0),
		"169.254.1.1":      addr("169.254.1.1", 0),
		"2001:db8::1":      addr("2001:db8::1", 0),
		"fe80::1":          addr("fe80::1", 3),
		"225.1.1.1":        addr("0.0.0.0", 3),
		"::ffff:225.1.1.1": addr("0.0.0.0", 3),
		"255.255.255.255":  addr("0.0.0.0", 3),
		"ff02::1":          addr("::", 3),
	} {
		got, group := localOf(netip.MustParseAddr(dst), 1883, 3)
		if ip, _, _ := want.AddrPort(); got != want || group != ip.Addr().IsUnspecified() {
			t.Errorf("%s: %v, group %v, want %v", dst, got, group, want)
		}
	}
}

// TestReceiveDrops: every datagram is either received or counted as dropped.
func TestReceiveDrops(t *testing.T) {
	o := testOptions("127.0.0.1")
	o.ReceiveBuffer = 8192
	l := openLink(t, o, newSocket)
	c := dial(t, l.Addr())
	const n = 500
	for range n {
		write(t, c, []byte("flood"))
	}
	drops := l.ReceiveDrops()
	if drops == 0 || drops >= n {
		t.Fatalf("%d of %d dropped", drops, n)
	}
	got := collect(t, l)
	for range n - drops {
		wait(t, got)
	}
	write(t, c, []byte("last"))
	if d := wait(t, got); string(d.Data) != "last" {
		t.Errorf("more came than were not dropped")
	}
	if l.ReceiveDrops() != drops {
		t.Errorf("drops went from %d to %d", drops, l.ReceiveDrops())
	}
}

// TestFloodAllocatesNothing echoes 100,000 datagrams.
func TestFloodAllocatesNothing(t *testing.T) {
	for _, host := range []string{"127.0.0.1", ""} {
		l := openLink(t, testOptions(host), newSocket)
		echo(t, l)
		peer := openLink(t, testOptions("127.0.0.1"), newSocket)
		back := make(chan int, 1000)
		serve(t, peer, func(batch []transports.Datagram) { back <- len(batch) })
		to := transports.IPAddr(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), l.Addr().Port()), 0)
		batch := make([]transports.Datagram, 50)
		for i := range batch {
			batch[i] = transports.Datagram{Addr: to, Data: []byte("0123456789")}
		}
		const rounds = 2000
		timeout := time.NewTimer(patience)
		defer timeout.Stop()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			if sent, err := peer.Send(batch); sent != len(batch) {
				t.Fatal(err)
			}
			for left := len(batch); left > 0; {
				select {
				case n := <-back:
					left -= n
				case <-timeout.C:
					t.Fatal("echo lost")
				}
			}
		}
		runtime.ReadMemStats(&after)
		// Some hundreds are the pool's and the runtime's own; each datagram passes four ends.
		if n := after.Mallocs - before.Mallocs; n > rounds*uint64(len(batch))/100 {
			t.Errorf("%q: %d allocations for %d datagrams", host, n, rounds*len(batch))
		}
	}
}

// TestFlush plays the system's part, since loopback is never busy.
func TestFlush(t *testing.T) {
	for _, test := range []struct {
		name             string
		fails            map[int]syscall.Errno // by datagram
		sent, failed     int
		oversize         int
		first            syscall.Errno
		busy, interrupts bool
	}{
		{name: "all", sent: 5},
		{name: "interrupted", interrupts: true, sent: 5},
		{name: "full at once", fails: map[int]syscall.Errno{0: unix.EAGAIN}, busy: true},
		{name: "full midway", fails: map[int]syscall.Errno{3: unix.ENOBUFS}, sent: 3, busy: true},
		{name: "one refused", fails: map[int]syscall.Errno{2: unix.EHOSTUNREACH}, sent: 4, failed: 1, first: unix.EHOSTUNREACH},
		{name: "two refused", fails: map[int]syscall.Errno{0: unix.EPERM, 4: unix.EMSGSIZE}, sent: 3, failed: 2, oversize: 1, first: unix.EPERM},
		{name: "refused, then full", fails: map[int]syscall.Errno{1: unix.ECONNREFUSED, 3: unix.EAGAIN}, sent: 2, failed: 1, first: unix.ECONNREFUSED, busy: true},
	} {
		o := newSender(5, true)
		o.used = 5
		interrupt := test.interrupts
		o.call = func(_ uintptr, headers []unix.Mmsghdr) (int, syscall.Errno) {
			if interrupt = !interrupt; test.interrupts && !interrupt {
				return 0, unix.EINTR
			}
			next := len(o.headers) - len(headers)
			for i := next; i < len(o.headers); i++ {
				if errno := test.fails[i]; errno != 0 {
					if i > next {
						return i - next, 0
					}
					return 0, errno
				}
			}
			return len(headers), 0
		}
		o.flush(0)
		if o.sent != test.sent || o.failed != test.failed || o.oversize != test.oversize || o.first != test.first || o.busy != test.busy {
			t.Errorf("%s: sent %d, failed %d, oversize %d, first %v, busy %v", test.name, o.sent, o.failed, o.oversize, o.first, o.busy)
		}
	}
}

// TestBusy: what the system could not take is lost, and the caller learns how much.
func TestBusy(t *testing.T) {
	l := openLink(t, testOptions("127.0.0.1"), newSocket)
	s := l.socket.(*batchSocket)
	s.newSender = func() *sender {
		o := newSender(4, s.ip6)
		calls := 0
		o.call = func(_ uintptr, headers []unix.Mmsghdr) (int, syscall.Errno) {
			if calls++; calls > 1 {
				return 0, unix.EAGAIN
			}
			return len(headers), 0
		}
		return o
	}
	batch := make([]transports.Datagram, 10)
	for i := range batch {
		batch[i] = transports.Datagram{Addr: transports.IPAddr(l.Addr(), 0)}
	}
	if sent, err := l.Send(batch); sent != 4 || !errors.Is(err, transports.ErrBusy) {
		t.Errorf("Send: %d, %v", sent, err)
	}
}

// TestControlLayout: our room for ancillary data is where the kernel looks for it.
func TestControlLayout(t *testing.T) {
	if need := unix.CmsgSpace(unix.SizeofInet4Pktinfo) + unix.CmsgSpace(unix.SizeofInet6Pktinfo); need > controlSize {
		t.Errorf("controlSize is %d, needed are %d", controlSize, need)
	}
	if got, want := unsafe.Alignof(control{}), unsafe.Alignof(unix.Cmsghdr{}); got < want {
		t.Errorf("control is aligned to %d, a header wants %d", got, want)
	}
}
