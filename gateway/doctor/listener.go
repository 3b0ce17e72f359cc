package doctor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Listener is an address at which the gateway is to listen.
type Listener struct {
	Network string // "udp", "tcp" or "unix"
	Addr    string // HOST:PORT as configured, or the path of a unix socket
	Flag    string // the flag that chooses another, such as "--udp"
	// Broker says that it is the embedded broker's, in whose place one that is there
	// already can be used.
	Broker bool
	// Open listens there as the gateway does; nil for what package net does.
	Open func() (io.Closer, error)
	// Optional says that the gateway starts without it.
	Optional bool
	// ReceiveBuffer and SendBuffer are what the system is asked for, in octets; 0 is
	// nothing.
	ReceiveBuffer, SendBuffer int

	others string // in place of Flag where it is not known which it is
}

func (l Listener) subject() string { return l.Network + " " + l.Addr }

// UDPPort says why an address cannot be listened at, such as which program has the port,
// and what helps. The error that it returns wraps err; it is err itself if there is
// nothing to add, nil if err is.
func UDPPort(addr string, err error) error {
	return host().explainPort(Listener{Network: "udp", Addr: addr, others: "--udp or --dtls"}, err)
}

// TCPPort is UDPPort for listeners on TCP.
func TCPPort(addr string, err error) error {
	return host().explainPort(Listener{Network: "tcp", Addr: addr, others: "--mqtt or --admin"}, err)
}

// UnixSocket is UDPPort for a unix socket, by its path.
func UnixSocket(path string, err error) error {
	return host().explainPort(Listener{Network: "unix", Addr: path, Flag: "--mqtt"}, err)
}

func (s *system) explainPort(l Listener, err error) error {
	if err == nil {
		return nil
	}
	t := s.portTrouble(l, err)
	if t == nil {
		return err
	}
	return t.explain("cannot listen at "+l.subject(), err)
}

// Listeners looks whether the gateway could listen at all of the addresses, by doing so
// for a moment, and whether the system grants the buffers that they ask for.
func Listeners(listeners []Listener) []Finding { return host().listeners(listeners) }

func (s *system) listeners(listeners []Listener) []Finding {
	var findings []Finding
	var open []io.Closer // until the end: two may get in each other's way
	for _, l := range listeners {
		c, err := listen(l)
		if err == nil {
			open = append(open, c)
		}
		findings = append(findings, s.listener(l, err))
	}
	for _, c := range open {
		_ = c.Close()
	}
	return append(findings, s.buffers(listeners)...)
}

func listen(l Listener) (io.Closer, error) {
	switch {
	case l.Open != nil:
		return l.Open()
	case l.Network == "tcp":
		return net.Listen("tcp", l.Addr)
	}
	addr, err := net.ResolveUDPAddr("udp", l.Addr)
	if err != nil {
		return nil, err
	}
	return net.ListenUDP("udp", addr)
}

// listener looks at one address, which could be listened at if err is nil.
func (s *system) listener(l Listener, err error) Finding {
	if err == nil {
		return Finding{Status: OK, Subject: l.subject(), Text: "free"}
	}
	t := s.portTrouble(l, err)
	if t == nil {
		t = &trouble{cause: err.Error()}
	}
	if t.running || l.Optional {
		return t.finding(Warn, l.subject())
	}
	return t.finding(Fail, l.subject())
}

// portTrouble finds out why an address cannot be listened at; nil if there is nothing to
// say about it.
func (s *system) portTrouble(l Listener, err error) *trouble {
	if l.Network == "unix" {
		return s.socketTrouble(l, err)
	}
	var dns *net.DNSError
	var file *fs.PathError
	switch {
	case errors.As(err, &file):
		return nil // it is about a file, such as one with keys, which the error names
	case errors.Is(err, errInUse):
		return s.taken(l)
	case errors.Is(err, errForbidden):
		return s.lowPort(l)
	case errors.Is(err, errNotAvailable):
		return &trouble{
			cause: "no interface of this machine has that address; it has " + strings.Join(localAddrs(), ", "),
			fixes: []string{"choose one of these, or an empty host for all of them" + l.with(":"+l.port())},
		}
	case errors.As(err, &dns):
		return &trouble{
			cause: "the host is no address, and no name that can be resolved: " + dns.Err,
			fixes: []string{"write an address of this machine, or an empty host for all of them" + l.with(":"+l.port())},
		}
	}
	return nil
}

// with is how to listen at another address, the end of a fix.
func (l Listener) with(addr string) string {
	if l.Flag == "" {
		return ", such as " + addr + ", with " + l.others
	}
	return ": " + l.Flag + " " + addr
}

// shifted is the address with a port so much higher.
func (l Listener) shifted(by uint16) string {
	host, port, err := net.SplitHostPort(l.Addr)
	n, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil {
		return "HOST:PORT"
	}
	shifted := uint16(n) + by
	if shifted < by { // past the last one
		shifted = uint16(n) - by
	}
	return net.JoinHostPort(host, strconv.Itoa(int(shifted)))
}

func (l Listener) port() string {
	_, port, err := net.SplitHostPort(l.Addr)
	if err != nil {
		return "PORT"
	}
	return port
}

// resolved is the address as far as it is one; the unspecified address for a name.
func (l Listener) resolved() netip.AddrPort {
	host, text, err := net.SplitHostPort(l.Addr)
	if err != nil {
		return netip.AddrPort{}
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return netip.AddrPort{}
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		addr = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(addr, uint16(port))
}

// taken is for a port that somebody has.
func (s *system) taken(l Listener) *trouble {
	all, owners := s.portHolders(l.Network, l.resolved())
	other := "choose another port" + l.with(l.shifted(1))
	t := &trouble{cause: "another program has this port"}
	switch {
	case len(all) > 0 && all[0].own:
		return &trouble{cause: "the gateway itself listens there already: the address is given twice", fixes: []string{"remove one of them, or " + other}}
	case len(all) > 0 && all[0].twin:
		return &trouble{
			cause:   "a gateway that is running has this port: " + listed(all),
			fixes:   []string{all[0].stop(), "or, for a second gateway, " + other},
			running: true,
		}
	case len(all) > 0:
		t.cause = listed(all) + " has this port"
		t.fixes = []string{all[0].stop()}
	case len(owners) > 0:
		t.cause = "a program of user " + strings.Join(owners, " or ") + " has this port"
		t.fixes = []string{"see which: sudo gateway doctor"}
	case runtime.GOOS != "linux" && runtime.GOOS != "windows":
		t.fixes = []string{"see which: sudo lsof -nP -i " + l.Network + ":" + l.port()}
	}
	if l.Broker {
		t.fixes = append(t.fixes, "or have devices use it, if it is an MQTT broker: gateway --broker mqtt://localhost:"+l.port())
	}
	t.fixes = append(t.fixes, "or "+other)
	return t
}

// lowPort is for a port that this user may not have.
func (s *system) lowPort(l Listener) *trouble {
	first := 1024
	if n, err := strconv.Atoi(s.read("/proc/sys/net/ipv4/ip_unprivileged_port_start")); err == nil {
		first = n
	}
	if port := l.resolved().Port(); port != 0 && int(port) >= first {
		return &trouble{cause: "the system forbids this program to listen there: SELinux, AppArmor or the service's own limits"}
	}
	t := &trouble{
		cause: fmt.Sprintf("this user may not have ports below %d", first),
		fixes: []string{fmt.Sprintf("choose a port of %d or more%s", first, l.with(l.shifted(8000)))},
	}
	if unit := s.service(); unit != "" {
		t.fixes = append(t.fixes, fmt.Sprintf("or grant it to the service: sudo systemctl edit %s, write [Service] and AmbientCapabilities=CAP_NET_BIND_SERVICE, then sudo systemctl restart %s", unit, unit))
	} else if exe, err := os.Executable(); err == nil && runtime.GOOS == "linux" {
		t.fixes = append(t.fixes, "or grant it to this program: sudo setcap cap_net_bind_service=+ep "+quote(exe))
	}
	return t
}

// localAddrs are the addresses of this machine.
func localAddrs() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var texts []string
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && !prefix.Addr().IsLinkLocalUnicast() {
			texts = append(texts, prefix.Addr().String())
		}
	}
	return texts
}
