// Package dtls is the link to clients on DTLS 1.2 (RFC 6347), with pre-shared keys or
// certificates, and connection ids (RFC 9146).
//
// Cryptography is a library's, which pion.go hides, and another link carries the records
// (Over). Which datagram is for whom is decided here (demux.go), for three reasons: a
// stranger costs nothing before it has proven its address (cookie.go, pioncookie.go), a
// stalled handshake delays nobody, and a client with a connection id keeps its connection
// from any address.
//
// Messages that a client sends right behind its Finished wait for the end of the handshake.
// Those that overtake its ChangeCipherSpec on their way may be lost without being counted.
//
// A peer's address is a number, given to its connection once and never again, not even
// after a restart. When a client connects anew, it is another peer.
package dtls

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"mqttsn-gateway/transports"
)

// overhead is how much longer a record is than its message, at most: header, nonce (8), tag
// (16), type (1) and a connection id of the client's choice.
const overhead = 64

// maxClientID is the longest connection id that leaves records within overhead.
const maxClientID = overhead - recordHeader - 8 - 16 - 1

// Link is a DTLS listener. It implements transports.Link, transports.Identifier and
// transports.DropCounter.
type Link struct {
	name    string
	options Options
	below   transports.Link
	inbox   *inbox
	lines   *lines
	began   time.Time
	trust   *Credentials

	counters counters
	running  sync.WaitGroup // one for each of all

	mu         sync.Mutex // guards what follows
	isClosed   bool
	number     uint64 // of the last connection
	half       int    // handshakes under way
	perPrefix  map[netip.Prefix]int
	handshakes map[netip.AddrPort]*conn
	byAddr     map[netip.AddrPort]*conn
	byID       map[connectionID]*conn
	byNumber   map[uint64]*conn
	all        map[*conn]struct{}
	byName     map[string]*conn    // by identity the head of a list of connections
	begun      *rate[string]       // connections by identity
	failures   *rate[netip.Prefix] // handshakes that failed, by network
}

// Why Send fails, beside transports.ErrBusy.
var (
	errGone     = errors.New("dtls: there is no such connection any more")
	errTooLong  = errors.New("dtls: the message is longer than the link's MTU")
	errUnproven = errors.New("dtls: too little has come from the client's new address yet")
)

// Over makes a link of the one below, which carries the records: one of UDP that takes
// datagrams of MaxDatagram octets. It belongs to the new link then, which closes it. trust
// has been loaded with the same options. Errors name the option or say what to do.
func Over(below transports.Link, o Options, trust *Credentials, log *slog.Logger) (*Link, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	_, address, _ := strings.Cut(below.Name(), " ")
	l := &Link{
		name:    "dtls " + address,
		options: o,
		below:   below,
		trust:   trust,
		inbox:   newInbox(o.Queue),
		lines:   newLines(log),
		began:   time.Now(),
		// Microseconds grow faster than connections come, so a number is not given twice
		// unless the clock goes back while the gateway is down.
		number:     uint64(time.Now().UnixMicro()),
		perPrefix:  map[netip.Prefix]int{},
		handshakes: map[netip.AddrPort]*conn{},
		byAddr:     map[netip.AddrPort]*conn{},
		byID:       map[connectionID]*conn{},
		byNumber:   map[uint64]*conn{},
		all:        map[*conn]struct{}{},
		byName:     map[string]*conn{},
		begun:      newRate[string](o.MaxConnectsPerIdentity),
		failures:   newRate[netip.Prefix](o.MaxFailuresPerPrefix),
	}
	if err := l.try(); err != nil {
		return nil, err
	}
	trust.join(l)
	return l, nil
}

// try makes an association with these options once, so that what is wrong with them, or
// with the library, shows now and not with each client.
func (l *Link) try() error {
	c := &conn{link: l}
	a, err := newAssociation(c, &path{}, l.associationOptions(c, false, false))
	if err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	if err := a.check(); err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	return nil
}

// associationOptions are those of a connection that begins now. One whose client offers
// cipher suites with a pre-shared key gets one of them if there are keys: the library takes
// the first that the client names, and with a certificate it would prove no identity.
func (l *Link) associationOptions(c *conn, offersKey, takesID bool) associationOptions {
	ring := l.trust.now.Load()
	o := associationOptions{
		certificate: ring.certificate,
		clientCAs:   ring.clientCAs,
		ask:         ring.ask,
		mtu:         l.options.MTU,
		retransmit:  l.options.RetransmitInterval,
		verified:    c.proof.verify,
	}
	withKey := ring.keys != nil && offersKey
	if withKey {
		o.certificate = nil
	}
	if ring.keys != nil {
		o.psk = func(identity []byte, begin func() (*trial, error)) ([]byte, error) {
			return c.key(ring, identity, begin)
		}
	}
	if l.options.ConnectionID {
		o.connectionID = func() []byte { return l.offerID(c) }
	}
	getsID := takesID && l.options.ConnectionID
	if l.trust.sessions != nil && !getsID && (withKey || ring.ask == askNone) {
		c.resumption = &resumption{all: l.trust.sessions, keys: func(identity []byte) (pair, bool) {
			found, known, _ := c.find(ring, identity) // without an answer it is a whole handshake
			return found, known
		}}
		o.resumption = c.resumption
	}
	return o
}

// Name is "dtls " and the address, such as "dtls 127.0.0.1:8883".
func (l *Link) Name() string { return l.name }

// MTU is that of Options, less what encryption adds.
func (l *Link) MTU() int { return l.options.MTU - overhead }

// User is that of Options.
func (l *Link) User() string { return l.options.User }

// ReceiveDrops is how many datagrams were lost before the link below could read them, as
// far as it knows.
func (l *Link) ReceiveDrops() uint64 {
	if d, ok := l.below.(transports.DropCounter); ok {
		return d.ReceiveDrops()
	}
	return 0
}

// Identity is what the client of that connection has proven to be: the identity of its
// pre-shared key, or the common name of its certificate (or else its first DNS name, URI
// or e-mail address); "" if it has proven nothing. ok is false if the connection is gone.
func (l *Link) Identity(addr transports.Addr) (identity string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.byNumber[addr.Number()]; c != nil {
		return c.name, true
	}
	return "", false
}

// Where is the network address of that connection's client, as far as it is known.
func (l *Link) Where(addr transports.Addr) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.byNumber[addr.Number()]; c != nil && c.at != noAddress {
		return c.at.String()
	}
	return addr.String()
}

// clock is a time in seconds that no change of the system's clock disturbs.
func (l *Link) clock() int64 { return int64(time.Since(l.began) / time.Second) }

// Send encrypts and sends the batch in order. A message that cannot be sent does not keep
// back those after it: it is counted in Stats, and err is the reason of the first such.
// When the link below is full the rest is lost with transports.ErrBusy; after Close all is,
// with net.ErrClosed.
func (l *Link) Send(batch []transports.Datagram) (sent int, err error) {
	drop := &l.counters.drop
	for i := range batch {
		d := &batch[i]
		l.mu.Lock()
		c, over := l.byNumber[d.Addr.Number()], l.isClosed
		l.mu.Unlock()
		failure := errGone
		switch {
		case over:
			return sent, net.ErrClosed
		case len(d.Data) > l.MTU():
			failure = errTooLong
		case c != nil:
			failure = c.send(d.Data)
		}
		switch {
		case failure == nil:
			sent++
			continue
		case errors.Is(failure, transports.ErrBusy):
			drop.busy.Add(uint64(len(batch) - i))
			return sent, failure
		case errors.Is(failure, errTooLong):
			drop.oversize.Add(1)
		case errors.Is(failure, errUnproven):
			drop.unproven.Add(1)
		default:
			drop.unsendable.Add(1)
		}
		if err == nil {
			err = failure
		}
	}
	return sent, err
}

// Close tells all clients that their connections are over and closes the link below; Serve
// then returns nil. It may be called from any goroutine and more than once.
func (l *Link) Close() error {
	l.mu.Lock()
	over := l.isClosed
	l.isClosed = true
	var all []*conn
	for c := range l.all {
		all = append(all, c)
	}
	l.mu.Unlock()
	if over {
		l.running.Wait()
		return nil
	}
	for _, c := range all {
		c.cancel()
		c.end(endedByClose)
	}
	l.running.Wait()
	l.trust.leave(l)
	return l.below.Close()
}
