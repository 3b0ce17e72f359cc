package forward

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// octets reads hexadecimal digits, with blanks between them for the eye.
func octets(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// journal is a log that a test can read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// count is how many lines have all of these parts.
func (j *journal) count(parts ...string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.text.String()) {
		hit := 1
		for _, part := range parts {
			if !strings.Contains(line, part) {
				hit = 0
			}
		}
		n += hit
	}
	return n
}

func (j *journal) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: level}))
}

// world is a forwarder with devices on one side and gateways on the other, all in memory
// and in fake time. The gateways' addresses are 192.0.2.1:1883 and so on.
type world struct {
	t         *testing.T
	field     *memory.Network
	network   *memory.Network
	forwarder *Forwarder
	log       journal
	stop      func()

	mu       sync.Mutex
	names    map[string][]string // what the forwarder's resolver knows
	lookups  int
	refusing bool
	openErr  error
	sockets  []*socket
	arrived  map[string][]arrival // at gateways, by address
}

// arrival is a datagram at a gateway.
type arrival struct {
	from transports.Addr
	data string // hexadecimal
}

// gatewayName is what the forwarder of a world is told to forward to.
const gatewayName = "gateway.example"

// newWorld makes a world whose forwarder is not running yet; links are made by wrap of
// the field's links "0", "1" and so on, one by default.
func newWorld(t *testing.T, wraps ...func(*memory.Link) transports.Link) *world {
	w := &world{
		t:       t,
		field:   memory.NewNetwork(memory.Options{MTU: 600}),
		network: memory.NewNetwork(memory.Options{MTU: 65507}),
		names:   map[string][]string{gatewayName: {"192.0.2.1"}},
		arrived: map[string][]arrival{},
	}
	if len(wraps) == 0 {
		wraps = append(wraps, plain)
	}
	var links []transports.Link
	for i, wrap := range wraps {
		links = append(links, wrap(w.field.Link(string(rune('0'+i)))))
	}
	o := DefaultOptions()
	o.To = gatewayName + ":1883"
	var err error
	if w.forwarder, err = New(o, links, w.log.logger(slog.LevelInfo)); err != nil {
		t.Fatal(err)
	}
	w.forwarder.uplink.resolve = w.resolve
	w.forwarder.uplink.open = w.open
	return w
}

func plain(l *memory.Link) transports.Link { return l }

// start runs the forwarder and a gateway at 192.0.2.1 until end.
func (w *world) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.forwarder.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}
	w.t.Cleanup(w.end)
	w.gateway("192.0.2.1:1883")
	synctest.Wait()
}

func (w *world) end() {
	if w.stop == nil {
		return
	}
	w.stop()
	w.stop = nil
	_ = w.field.Close()
	_ = w.network.Close()
	synctest.Wait()
}

// gateway runs one that writes down what arrives.
func (w *world) gateway(addr string) {
	link := w.network.Link(addr)
	go func() {
		_ = link.Serve(context.Background(), func(batch []transports.Datagram) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, d := range batch {
				w.arrived[addr] = append(w.arrived[addr], arrival{d.Addr, hex.EncodeToString(d.Data)})
			}
		})
	}()
}

// stopGateway takes the gateway away; what is sent there meanwhile is refused.
func (w *world) stopGateway(addr string) {
	_ = w.network.Link(addr).Close()
	w.setRefusing(true)
}

func (w *world) setRefusing(refusing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refusing = refusing
}

// gotAt is what has arrived at a gateway since the last call.
func (w *world) gotAt(addr string) []arrival {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.arrived[addr]
	delete(w.arrived, addr)
	return got
}

// expectAtGateway checks what has arrived at 192.0.2.1 and returns the sender.
func (w *world) expectAtGateway(want ...string) (from transports.Addr) {
	w.t.Helper()
	got := w.gotAt("192.0.2.1:1883")
	if len(got) != len(want) {
		w.t.Fatalf("%d datagrams arrived at the gateway, want %d: %v", len(got), len(want), got)
	}
	for i, a := range got {
		if a.data != strings.ReplaceAll(strings.ToLower(want[i]), " ", "") {
			w.t.Fatalf("datagram %d: got %s, want %s", i, a.data, want[i])
		}
		from = a.from
	}
	return from
}

// answer sends from the gateway at 192.0.2.1 to the forwarder.
func (w *world) answer(datagram string) { w.answerFrom("192.0.2.1:1883", datagram) }

func (w *world) answerFrom(addr, datagram string) {
	w.t.Helper()
	d := transports.Datagram{Addr: w.socket().at, Data: octets(w.t, datagram)}
	if _, err := w.network.Link(addr).Send([]transports.Datagram{d}); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

// device is one on the first link.
func (w *world) device(addr transports.Addr) *device { return w.deviceOn("0", addr) }

func (w *world) deviceOn(link string, addr transports.Addr) *device {
	w.t.Helper()
	e, err := w.field.DialFrom(link, addr)
	if err != nil {
		w.t.Fatal(err)
	}
	return &device{w.t, e}
}

// expectDrops checks all drops: the reasons given once each, and no other.
func (w *world) expectDrops(want ...reason) {
	w.t.Helper()
	synctest.Wait()
	expected := map[string]uint64{}
	for _, r := range want {
		expected[r.String()]++
	}
	for name, n := range w.forwarder.Stats().Dropped {
		if n != expected[name] {
			w.t.Errorf("%d dropped as %s, want %d", n, name, expected[name])
		}
	}
}

func (w *world) expectLogged(n int, parts ...string) {
	w.t.Helper()
	synctest.Wait()
	if got := w.log.count(parts...); got != n {
		w.t.Errorf("%d lines of the log have %q, want %d:\n%s", got, parts, n, w.log.text.String())
	}
}

// device is one in the field.
type device struct {
	t *testing.T
	*memory.Endpoint
}

func (d *device) send(packet string) {
	d.t.Helper()
	if _, err := d.Write(octets(d.t, packet)); err != nil {
		d.t.Fatal(err)
	}
	synctest.Wait()
}

// expect checks what the device has received; nothing if want is empty.
func (d *device) expect(want ...string) {
	d.t.Helper()
	synctest.Wait()
	var got []string
	b := make([]byte, 1000)
	for {
		_ = d.SetReadDeadline(time.Now().Add(time.Nanosecond))
		n, err := d.Read(b)
		if err != nil {
			break
		}
		got = append(got, hex.EncodeToString(b[:n]))
	}
	if strings.Join(got, "|") != strings.ReplaceAll(strings.ToLower(strings.Join(want, "|")), " ", "") {
		d.t.Fatalf("the device received %q, want %q", got, want)
	}
}

// The resolver and the sockets of a world.

var errNoName = errors.New("no such host")

func (w *world) resolve(_ context.Context, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookups++
	var addrs []netip.Addr
	for _, a := range w.names[host] {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	if len(addrs) == 0 {
		return nil, errNoName
	}
	return addrs, nil
}

func (w *world) lookedUp() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lookups
}

func (w *world) setName(addrs ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names[gatewayName] = addrs
}

func (w *world) setOpenError(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.openErr = err
}

func (w *world) open(_ context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.openErr != nil {
		return nil, w.openErr
	}
	if local.Port() == 0 {
		local = netip.AddrPortFrom(local.Addr(), uint16(40001+len(w.sockets)))
	}
	if !local.Addr().IsValid() {
		local = netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), local.Port())
	}
	at := transports.IPAddr(local, 0)
	e, err := w.network.DialFrom(remote.String(), at)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	s := &socket{Endpoint: e, world: w, local: local, at: at}
	w.sockets = append(w.sockets, s)
	return s, nil
}

// socket is the last one that was opened.
func (w *world) socket() *socket {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sockets[len(w.sockets)-1]
}

// socket is a connected UDP socket in memory, which reports errors as the system does.
type socket struct {
	*memory.Endpoint
	world *world
	local netip.AddrPort
	at    transports.Addr

	mu    sync.Mutex
	err   error // of the next Read
	fails error // of every Write
}

func (s *socket) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(s.local) }

// fail makes Read return err.
func (s *socket) fail(err error) {
	s.mu.Lock()
	s.err = &net.OpError{Op: "read", Net: "udp", Err: os.NewSyscallError("read", err)}
	s.mu.Unlock()
	_ = s.SetReadDeadline(time.Now())
}

func (s *socket) Write(b []byte) (int, error) {
	s.world.mu.Lock()
	refusing := s.world.refusing
	s.world.mu.Unlock()
	s.mu.Lock()
	fails := s.fails
	s.mu.Unlock()
	switch {
	case fails != nil:
		return 0, fails
	case refusing:
		s.fail(syscall.ECONNREFUSED)
		return len(b), nil
	}
	return s.Endpoint.Write(b)
}

func (s *socket) Read(b []byte) (int, error) {
	n, err := s.Endpoint.Read(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		err, s.err = s.err, nil
		_ = s.SetReadDeadline(time.Time{})
	}
	return n, err
}
