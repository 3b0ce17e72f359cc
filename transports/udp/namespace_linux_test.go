package udp

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"mqttsn-gateway/transports"
)

// inNamespace tells a test process that it has a network of its own.
const inNamespace = "UDP_TEST_IN_NAMESPACE"

// TestInNamespace runs the tests below in a network namespace, with interfaces made for
// them: several at once, and IPv6 groups, which lo has no route for. Where the process may
// not make one, as in some containers, these are not tested, and the log says so.
func TestInNamespace(t *testing.T) {
	if os.Getenv(inNamespace) != "" {
		netlink(t, unix.RTM_SETLINK, link(uint32(loopback(t).Index), unix.IFF_UP))
		t.Run("interfaces", testInterfaces)
		t.Run("one address", testOneAddress)
		t.Run("hot plug", testHotPlug)
		return
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestInNamespace$")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if cmd.Process == nil {
		t.Logf("NOT TESTED: IPv6 groups, several interfaces, hot plug: this process may not make a network namespace: %v", err)
	} else if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// wire makes a pair of Ethernet interfaces; name has an IPv4 and an IPv6 address ending in
// its number, the other end has none.
func wire(t *testing.T, name string, number byte) *net.Interface {
	t.Helper()
	text := func(s string) []byte { return append([]byte(s), 0) }
	const peer = 1 // VETH_INFO_PEER
	netlink(t, unix.RTM_NEWLINK, append(link(0, 0), join(
		attribute(unix.IFLA_IFNAME, text(name)),
		attribute(unix.IFLA_LINKINFO, join(
			attribute(unix.IFLA_INFO_KIND, []byte("veth")),
			attribute(unix.IFLA_INFO_DATA, attribute(peer, append(link(0, 0), attribute(unix.IFLA_IFNAME, text(name+"x"))...))),
		)),
	)...))
	for _, end := range []string{name + "x", name} {
		ifi, err := net.InterfaceByName(end)
		if err != nil {
			t.Fatal(err)
		}
		netlink(t, unix.RTM_SETLINK, link(uint32(ifi.Index), unix.IFF_UP))
	}
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	for family, ip := range map[byte]netip.Addr{unix.AF_INET: address(true, number), unix.AF_INET6: address(false, number)} {
		head := []byte{family, 24, unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE} // struct ifaddrmsg
		if family == unix.AF_INET6 {
			head[1] = 64
		}
		head = binary.NativeEndian.AppendUint32(head, uint32(ifi.Index))
		netlink(t, unix.RTM_NEWADDR, append(head, join(attribute(unix.IFA_LOCAL, ip.AsSlice()), attribute(unix.IFA_ADDRESS, ip.AsSlice()))...))
	}
	awaitReachable(t, address(true, number))
	awaitReachable(t, address(false, number))
	t.Cleanup(func() {
		if _, err := net.InterfaceByName(name); err == nil {
			netlink(t, unix.RTM_DELLINK, link(uint32(ifi.Index), 0))
		}
	})
	return ifi
}

// awaitReachable waits until a new address works: the kernel makes its route later.
func awaitReachable(t *testing.T, ip netip.Addr) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip.AsSlice()})
		if err == nil {
			_, _ = c.WriteTo([]byte("x"), c.LocalAddr())
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, err = c.Read(make([]byte, 1))
			_ = c.Close()
		}
		if err == nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("%v: %v", ip, err)
		}
	}
}

// link is the head of a message on an interface, struct ifinfomsg.
func link(index uint32, flags uint32) []byte {
	b := make([]byte, 16)
	binary.NativeEndian.PutUint32(b[4:], index)
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], flags)
	return b
}

// address is that of the interface with that number.
func address(ip4 bool, number byte) netip.Addr {
	if ip4 {
		return netip.AddrFrom4([4]byte{198, 51, number, 1})
	}
	return netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::1", number))
}

// attribute is one attribute of a netlink message.
func attribute(kind uint16, data []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	return append(b, make([]byte, -len(b)&3)...)
}

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// netlink asks the kernel for a change of the network.
func netlink(t *testing.T, kind uint16, body []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	flags := uint16(unix.NLM_F_REQUEST | unix.NLM_F_ACK)
	if kind == unix.RTM_NEWLINK || kind == unix.RTM_NEWADDR {
		flags |= unix.NLM_F_CREATE | unix.NLM_F_EXCL
	}
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = append(append(b, make([]byte, 8)...), body...)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil || n < unix.NLMSG_HDRLEN+4 {
		t.Fatalf("%d octets, %v", n, err)
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); errno != 0 {
		t.Fatalf("netlink %d: %v", kind, syscall.Errno(errno))
	}
}

// arrival is a datagram to a group as a device sees it.
type arrival struct {
	data  string
	hops  int
	index int
	from  netip.AddrPort
}

// listener hears a group on interfaces.
func listener(t *testing.T, group netip.AddrPort, on ...*net.Interface) (next func() arrival) {
	t.Helper()
	conn, err := listenGroup(group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	e := &ear{group: group, conn: conn}
	for _, ifi := range on {
		if err := e.join(ifi); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 100)
	if group.Addr().Is4() {
		c := ipv4.NewPacketConn(conn)
		_ = c.SetControlMessage(ipv4.FlagTTL|ipv4.FlagInterface, true)
		return func() arrival {
			n, cm, from, err := c.ReadFrom(b)
			if err != nil {
				t.Fatal(err)
			}
			return arrival{string(b[:n]), cm.TTL, cm.IfIndex, from.(*net.UDPAddr).AddrPort()}
		}
	}
	c := ipv6.NewPacketConn(conn)
	_ = c.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true)
	return func() arrival {
		n, cm, from, err := c.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		return arrival{string(b[:n]), cm.HopLimit, cm.IfIndex, from.(*net.UDPAddr).AddrPort()}
	}
}

// bothGroups are options with the groups of Paho's clients.
func bothGroups(listen string) Options {
	o := DefaultOptions()
	o.Listen, o.Groups = listen, []string{"225.1.1.1:1883", "[ff1e:feed:caca:dead::1]:1883"}
	o.GroupHops = 3
	return o
}

// testInterfaces: what comes in on one of several interfaces is told with its interface,
// an answer goes out there alone, and an announcement everywhere, each time from the
// address that clients there can reach.
func testInterfaces(t *testing.T) {
	a, b := wire(t, "a0", 1), wire(t, "b0", 2)
	for _, listen := range []string{":1883", ":1999"} {
		onEach(t, func(t *testing.T, open opener) {
			o := bothGroups(listen)
			o.GroupInterfaces = []string{"a0", "b0"}
			l := openShared(t, o, open)
			if s := l.Groups(); s.Joined != 4 || s.Failures != 0 {
				t.Errorf("%+v", s)
			}
			got := collect(t, l)
			for _, text := range o.Groups {
				group := netip.MustParseAddrPort(text)
				ip4 := group.Addr().Is4()
				next := listener(t, group, a, b)
				for number, ifi := range map[byte]*net.Interface{1: a, 2: b} {
					source := address(ip4, number)
					ask, err := net.ListenUDP("udp", &net.UDPAddr{IP: source.AsSlice()})
					if err != nil {
						t.Fatal(err)
					}
					defer ask.Close()
					if ip4 {
						err = ipv4.NewPacketConn(ask).SetMulticastInterface(ifi)
					} else {
						err = ipv6.NewPacketConn(ask).SetMulticastInterface(ifi)
					}
					if err != nil {
						t.Fatal(err)
					}
					if _, err := ask.WriteToUDPAddrPort([]byte("anyone?"), group); err != nil {
						t.Fatal(err)
					}
					d := wait(t, got)
					if local, index, _ := d.Local.AddrPort(); !d.Multicast || !local.Addr().IsUnspecified() || local.Addr().Is4() != ip4 || int(index) != ifi.Index || d.Addr != localAddrOf(ask) {
						t.Errorf("%s on %s: Multicast %v, Local %v, from %v", text, ifi.Name, d.Multicast, d.Local, d.Addr)
					}
					next() // the search itself
					if err := l.Broadcast(d.Local, 2, []byte("me")); err != nil {
						t.Fatal(err)
					}
					if g := next(); g != (arrival{"me", 2, ifi.Index, netip.AddrPortFrom(source, l.Addr().Port())}) {
						t.Errorf("%s: heard %+v", text, g)
					}
					wait(t, got) // the link hears itself
					d.Data = []byte("you")
					if sent, err := l.Send([]transports.Datagram{d}); sent != 1 || err != nil {
						t.Fatalf("Send: %d, %v", sent, err)
					}
					_ = ask.SetReadDeadline(time.Now().Add(patience))
					if data := read(t, ask); string(data) != "you" {
						t.Errorf("%s: got %q", text, data)
					}
				}
				if err := l.Broadcast(transports.Addr{}, 0, []byte("all")); err != nil {
					t.Fatal(err)
				}
				heard := map[int]arrival{}
				for range 2 {
					g := next()
					heard[g.index] = g
				}
				for number, ifi := range map[byte]*net.Interface{1: a, 2: b} {
					if g := heard[ifi.Index]; g != (arrival{"all", 3, ifi.Index, netip.AddrPortFrom(address(ip4, number), l.Addr().Port())}) {
						t.Errorf("%s on %s: heard %+v", text, ifi.Name, g)
					}
				}
				for range 4 { // both groups on both interfaces
					wait(t, got)
				}
			}
			if l.Drops() != (Drops{}) {
				t.Errorf("%+v", l.Drops())
			}
		})
	}
}

// testOneAddress: a listener at one address uses the interface that has it, and the groups
// of its IP version.
func testOneAddress(t *testing.T) {
	a := wire(t, "a0", 1)
	wire(t, "b0", 2)
	for _, ip4 := range []bool{true, false} {
		o := bothGroups(netip.AddrPortFrom(address(ip4, 1), 1883).String())
		l := openLink(t, o, newSocket)
		if s := l.Groups(); s.Joined != 1 || s.Failures != 0 {
			t.Errorf("%+v", s)
		}
		group := netip.MustParseAddrPort(o.Groups[0])
		if !ip4 {
			group = netip.MustParseAddrPort(o.Groups[1])
		}
		next := listener(t, group, a)
		if err := l.Broadcast(transports.Addr{}, 0, []byte("all")); err != nil {
			t.Fatal(err)
		}
		if g := next(); g != (arrival{"all", 3, a.Index, l.Addr()}) {
			t.Errorf("heard %+v", g)
		}
	}
}

// testHotPlug: an interface that comes later is used, and one that goes is not missed.
func testHotPlug(t *testing.T) {
	wire(t, "a0", 1)
	o := bothGroups(":1883")
	o.GroupInterfaces = []string{"a0", "b0"}
	l := openLink(t, o, newSocket)
	l.groups.every = time.Millisecond
	got := collect(t, l)
	joined := func(want int) {
		t.Helper()
		for deadline := time.Now().Add(patience); l.Groups().Joined != want; {
			if time.Now().After(deadline) {
				t.Fatalf("%+v, want %d joined", l.Groups(), want)
			}
			<-time.After(time.Millisecond)
		}
	}
	joined(2)
	for range 25 { // more often than one socket may have memberships
		t.Run("plug", func(t *testing.T) {
			b := wire(t, "b0", 2)
			joined(4)
			near := transports.IPAddr(netip.AddrPortFrom(netip.IPv4Unspecified(), 1883), uint32(b.Index))
			if err := l.Broadcast(near, 0, []byte("x")); err != nil {
				t.Fatal(err)
			}
			if d := wait(t, got); d.Local != near {
				t.Errorf("heard on %v, want %v", d.Local, near)
			}
		})
		joined(2)
	}
	if s := l.Groups(); s.Failures != 0 {
		t.Errorf("%+v", s)
	}
}
