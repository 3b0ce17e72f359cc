package dnssd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/pion/mdns/v2"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// pace is how often Serve looks around: at the broker side each time, at the interfaces
// each interfacePaces.
const (
	pace           = time.Second
	interfacePaces = 30
	// announcements are made when a service begins, one each pace (RFC 6762, 8.3).
	announcements = 2
)

// Serve announces a service until ctx is done, while ready says that it can serve, and
// takes the announcement back when it cannot. What keeps it from doing so, such as a
// machine without a network, is logged once and tried again; it returns no error.
func Serve(ctx context.Context, o Options, s Service, ready func() bool, log *slog.Logger) {
	serve(ctx, o, s, ready, log, pace)
}

func serve(ctx context.Context, o Options, s Service, ready func() bool, log *slog.Logger, pace time.Duration) {
	n := o.names()
	log = log.With("name", n.instance)
	t := time.NewTicker(pace)
	defer t.Stop()
	var r *responder
	var failure string
	for since := 0; ; since++ { // paces since the service began
		now := ready()
		if r != nil && (!now || since%interfacePaces == 0 && r.outdated(o)) {
			r.close()
			r = nil
			log.Info("DNS-SD: the gateway is no longer announced", "ready", now)
		}
		if r == nil && now {
			var err error
			if r, err = respond(o, n, s); err == nil {
				since, failure = 0, ""
				log.Info("DNS-SD: the gateway is announced", "port", s.Addr.Port())
			} else if failure != err.Error() {
				failure = err.Error()
				log.Warn("DNS-SD: the gateway cannot be announced", "err", err)
			}
		}
		if r != nil && since < announcements {
			r.tell(false)
		}
		select {
		case <-ctx.Done():
			if r != nil {
				r.close()
			}
			return
		case <-t.C:
		}
	}
}

// responder answers for a service on interfaces. The library does most of it; what it does
// not do, goes through sockets of our own.
type responder struct {
	names   names
	service Service
	nics    []nic
	library *mdns.Conn
	own     pair
	readers sync.WaitGroup

	mu   sync.Mutex
	last map[int]time.Time // answers to what the library overlooked, by interface
}

func respond(o Options, n names, s Service) (*responder, error) {
	nics, err := pick(o.Interfaces, s.Addr.Addr())
	if err != nil {
		return nil, err
	}
	if _, err := announcement(n, s, nil, false); err != nil {
		return nil, err
	}
	theirs, err := openPair(nics)
	if err != nil {
		return nil, err
	}
	own, err := openPair(nics)
	if err != nil {
		theirs.close()
		return nil, err
	}
	library, err := start(theirs, nics, offer(n, s)...)
	if err != nil {
		own.close()
		return nil, err
	}
	own.join(nics)
	r := &responder{names: n, service: s, nics: nics, library: library, own: own, last: map[int]time.Time{}}
	if own.v4 != nil {
		r.readers.Go(func() {
			r.listen(func(b []byte) (int, int, error) {
				octets, m, _, err := own.v4.ReadFrom(b)
				return octets, indexOf(m, func(m *ipv4.ControlMessage) int { return m.IfIndex }), err
			})
		})
	}
	if own.v6 != nil {
		r.readers.Go(func() {
			r.listen(func(b []byte) (int, int, error) {
				octets, m, _, err := own.v6.ReadFrom(b)
				return octets, indexOf(m, func(m *ipv6.ControlMessage) int { return m.IfIndex }), err
			})
		})
	}
	return r, nil
}

func indexOf[M any](m *M, index func(*M) int) int {
	if m == nil {
		return 0
	}
	return index(m)
}

// outdated reports whether there are other interfaces by now, or other addresses.
func (r *responder) outdated(o Options) bool {
	nics, err := pick(o.Interfaces, r.service.Addr.Addr())
	return err != nil || !reflect.DeepEqual(nics, r.nics)
}

// tell announces the service on all interfaces, or takes it back.
func (r *responder) tell(goodbye bool) {
	for i := range r.nics {
		r.tellOn(&r.nics[i], goodbye)
	}
}

// tellOn does so on one interface. If it fails there, the library's answers have to do.
func (r *responder) tellOn(n *nic, goodbye bool) {
	var addrs []netip.Addr
	if !goodbye {
		addrs = n.addrs
	}
	if b, err := announcement(r.names, r.service, addrs, goodbye); err == nil {
		_ = r.own.send(n, b)
	}
}

// maxMessage is the largest message of multicast DNS (RFC 6762, 17).
const maxMessage = 9000

// maxFailures of a socket in a row end listening: it will not recover.
const maxFailures = 100

// listen answers what the library overlooks until stopReading.
func (r *responder) listen(read func(b []byte) (octets, index int, err error)) {
	b := make([]byte, maxMessage)
	for failures := 0; failures < maxFailures; {
		octets, index, err := read(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			failures++
			continue
		}
		failures = 0
		if !overlooked(r.names, b[:octets]) {
			continue
		}
		for i := range r.nics {
			if n := &r.nics[i]; (index == 0 || n.Index == index) && r.mayAnswer(time.Now(), n.Index) {
				r.tellOn(n, false)
			}
		}
	}
}

// mayAnswer allows one answer a second on each interface (RFC 6762, 6).
func (r *responder) mayAnswer(now time.Time, index int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.last[index]; ok && now.Sub(last) < time.Second {
		return false
	}
	r.last[index] = now
	return true
}

// close ends the responder and takes the service back, when nobody can announce it again.
func (r *responder) close() {
	_ = r.library.Close() // waits for its goroutines
	r.own.stopReading()
	r.readers.Wait()
	r.tell(true)
	r.own.close()
}
