package embedded

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// A listener is one of ListenerOptions with the sockets that it stands for: a name may
// have several addresses. What a kind of listener does to a connection before MQTT is
// spoken on it belongs at the start of client.run, where it holds up nobody else.
type listener struct {
	options ListenerOptions
	sockets []net.Listener
	mount   *mount                     // nil for none
	tls     atomic.Pointer[tls.Config] // nil: connections are plain

	connected int // clients; of Broker.clients, under its lock
}

// keepAlive has the system look after connections whose client promises no sign of life:
// with a keep alive of MQTT's the broker notices first, and the probes are not sent. Go's
// own, one each 15 s, would cost 10,000 idle clients 667 probes a second.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Minute, Interval: 30 * time.Second, Count: 6}

// resolveTime is how long a name may take to be resolved at the start.
const resolveTime = 10 * time.Second

// listen opens the listeners.
func (b *Broker) listen() error {
	for i, o := range b.options.Listeners {
		l := &listener{options: o, mount: b.mountAt(o.MountPoint)}
		if err := l.loadTLS(b.log); err != nil {
			_ = b.Close()
			return &FileError{Index: i, err: err}
		}
		var err error
		if l.sockets, err = o.open(); err != nil {
			_ = b.Close()
			return &ListenError{Index: i, Addr: o.Listen, err: err}
		}
		b.listeners = append(b.listeners, l)
	}
	return nil
}

// Listen opens a listener as the broker would, to see whether that works. Nobody who
// connects is served.
func Listen(o ListenerOptions) (io.Closer, error) {
	err := o.Validate()
	if err != nil {
		return nil, err
	}
	l := &listener{options: o}
	if _, err = o.tlsConfig(); err != nil {
		return nil, err
	}
	if l.sockets, err = o.open(); err != nil {
		return nil, &ListenError{Addr: o.Listen, err: err}
	}
	return l, nil
}

// Close closes the sockets: io.Closer.
func (l *listener) Close() error {
	var err error
	for _, s := range l.sockets {
		err = errors.Join(err, s.Close())
	}
	return err
}

// open opens the sockets of a listener.
func (o ListenerOptions) open() ([]net.Listener, error) {
	if path, unix := o.socketPath(); unix {
		mode, err := o.mode()
		if err != nil {
			return nil, err
		}
		s, err := listenUnix(path, mode)
		if err != nil {
			return nil, err
		}
		return []net.Listener{s}, nil
	}
	host, port, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, err
	}
	ip, literal := o.literal()
	if host != "" && !literal {
		return o.openName(host, port)
	}
	network := map[string]string{domainAny: "tcp", domainIPv4: "tcp4", domainIPv6: "tcp6"}[o.SocketDomain]
	if ip.Is4() {
		network = "tcp4" // or 0.0.0.0 would mean IPv6 as well
	}
	s, err := listenTCP(network, o.Listen)
	if err != nil {
		return nil, err
	}
	return []net.Listener{s}, nil
}

func listenTCP(network, addr string) (net.Listener, error) {
	config := net.ListenConfig{KeepAliveConfig: keepAlive}
	// Go's default, multipath TCP, is of no use to one that stays where it is, and its
	// sockets do not tell the interface of a link-local address.
	config.SetMultipathTCP(false)
	return config.Listen(context.Background(), network, addr)
}

// openName opens a socket at each address that a name has. Whoever connects by that name
// may take any of them.
func (o ListenerOptions) openName(host, port string) ([]net.Listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTime)
	defer cancel()
	network := map[string]string{domainAny: "ip", domainIPv4: "ip4", domainIPv6: "ip6"}[o.SocketDomain]
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
	if err != nil {
		return nil, err
	}
	var (
		opened  []net.Listener
		missing error
		done    = make(map[netip.Addr]bool)
	)
	for _, ip := range addrs {
		if ip = ip.Unmap(); done[ip] {
			continue
		}
		done[ip] = true
		s, err := listenTCP("tcp", net.JoinHostPort(ip.String(), port))
		switch {
		case err == nil:
			opened = append(opened, s)
			_, port, _ = net.SplitHostPort(s.Addr().String()) // one free port for all
		case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
			missing = err // such as ::1 for localhost where there is no IPv6
		default:
			return nil, errors.Join(err, (&listener{sockets: opened}).Close())
		}
	}
	if len(opened) == 0 {
		return nil, missing
	}
	return opened, nil
}

// ListenError says at which address the broker cannot listen, and what to do.
type ListenError struct {
	// Index is the listener's place in Options.Listeners.
	Index int
	// Addr is the address as it was configured.
	Addr string
	err  error
}

// Error implements error.
func (e *ListenError) Error() string {
	cause := e.err
	if op := (*net.OpError)(nil); errors.As(e.err, &op) {
		cause = op.Err
	}
	return fmt.Sprintf("cannot listen for MQTT clients on %s: %v: %s", e.Addr, cause, e.advice())
}

// Unwrap is the system's error.
func (e *ListenError) Unwrap() error { return e.err }

// advice says what to do.
func (e *ListenError) advice() string {
	if _, unix := (ListenerOptions{Listen: e.Addr}).socketPath(); unix {
		return socketAdvice(e.err)
	}
	switch {
	case errors.Is(e.err, syscall.EADDRINUSE):
		return "another program, such as Mosquitto, has this port; stop it, or choose another port with --mqtt HOST:PORT"
	case errors.Is(e.err, syscall.EACCES):
		return "the system does not allow this program to use this port; choose one above 1023"
	case errors.Is(e.err, syscall.EADDRNOTAVAIL):
		return "this machine has no such address; choose one that it has, or :PORT for all of them"
	}
	return "choose another address with --mqtt HOST:PORT"
}

func socketAdvice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "stop it, or choose another path with --mqtt unix:PATH"
	case errors.Is(err, syscall.ENOTSOCK):
		return "move it away, or choose another path with --mqtt unix:PATH"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "make the directory, or choose another path with --mqtt unix:PATH"
	case errors.Is(err, fs.ErrPermission):
		return "let the user that the gateway runs as write in the directory, or choose another path with --mqtt unix:PATH"
	case errors.Is(err, syscall.EINVAL):
		return "the path is too long for this system; choose a shorter one with --mqtt unix:PATH"
	case errors.Is(err, errors.ErrUnsupported):
		return "there are no unix sockets for servers on " + runtime.GOOS + "; listen at 127.0.0.1:1883 in its place"
	}
	return "choose another path with --mqtt unix:PATH"
}

// Addrs lists the addresses of the listeners, in the order of the options. One on a name
// has several where the name has.
func (b *Broker) Addrs() []net.Addr {
	var addrs []net.Addr
	for _, l := range b.listeners {
		for _, s := range l.sockets {
			addrs = append(addrs, s.Addr())
		}
	}
	return addrs
}

// Way is one by which MQTT clients can connect.
type Way struct {
	Addr net.Addr
	// Scheme is that of URLs: mqtt, mqtts, ws or wss.
	Scheme string
	// TLS says that it is encrypted, Certificate that clients need a certificate.
	TLS, Certificate bool
}

// Ways lists the ways by which MQTT clients can connect, in the order of [Broker.Addrs].
func (b *Broker) Ways() []Way {
	var ways []Way
	for _, l := range b.listeners {
		for _, s := range l.sockets {
			ways = append(ways, Way{s.Addr(), l.options.scheme(), l.options.secure(), l.options.RequireCertificate})
		}
	}
	return ways
}

// Close closes the listeners. It is for a broker that was made and is not going to Serve.
func (b *Broker) Close() error {
	var err error
	for _, l := range b.listeners {
		err = errors.Join(err, l.Close())
	}
	return err
}
