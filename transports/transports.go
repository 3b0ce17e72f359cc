// Package transports is the seam between the gateway and the media its clients are on.
//
// A [Link] is one medium: a UDP socket, a DTLS listener, a serial line. It hands
// received datagrams to the gateway in batches and sends what the gateway gives it.
// It knows addresses and octets; it knows nothing of MQTT-SN, clients or sessions.
//
// To add a medium:
//  1. a package transports/<name> with its own Options and Validate,
//  2. a type that implements Link, and optionally the small interfaces of this package,
//  3. an address kind in addr.go if none of the present ones fits,
//  4. its options in config, its construction in cmd/gateway.
package transports

import (
	"context"
	"errors"
)

// ErrBusy says that a link could not take a datagram now. The datagram is dropped:
// MQTT-SN expects loss, and whoever needs an answer sends again.
var ErrBusy = errors.New("transports: link is busy")

// ErrNobody says that a link has no way to reach everybody.
var ErrNobody = errors.New("transports: link reaches nobody at once")

// LinkID numbers the links of one gateway from 0, in the order in which it was given them.
type LinkID uint16

// Peer says where a client is: on which link, at which address and, behind a
// forwarder, at which wireless node id. It is comparable, so it is a map key, and
// building one allocates nothing.
type Peer struct {
	Link LinkID
	Addr Addr
	// Node is the Wireless Node Id of the forwarder encapsulation (5.5), 1 to 252
	// octets; empty for a client that speaks to the gateway itself.
	Node string
}

// Datagram is one MQTT-SN datagram on a link.
type Datagram struct {
	// Addr is the sender of a received datagram, the receiver of one to send.
	Addr Addr
	// Local is our own address to which a received datagram was sent; an answer is
	// to leave from it. The zero Addr leaves the choice to the link.
	Local Addr
	// Data is valid only during the call that carries it.
	Data []byte
	// Multicast says that a received datagram was sent to a group or to everybody on the
	// medium, not to this gateway alone. Send does not look at it.
	Multicast bool
	// Signal is the strength at which a radio received the datagram, in dBm; 0 where the
	// link does not learn it. Send does not look at it.
	Signal int8
}

// Link is one medium.
type Link interface {
	// Name identifies the link in logs and metrics, such as "udp 127.0.0.1:1883".
	Name() string

	// Serve hands received datagrams to recv, in order of arrival and in batches of
	// one or more, until ctx is done. It calls recv from one goroutine at a time;
	// the batch and its Data belong to the link again when recv returns. Serve
	// returns nil after ctx is done and an error when the medium is lost for good.
	// It may be called once.
	Serve(ctx context.Context, recv func(batch []Datagram)) error

	// Send sends the batch in order. It never blocks. It returns how many datagrams
	// the link took; those it did not take are lost, and err says why: ErrBusy when
	// the medium is momentarily full. Send may be called from any goroutine.
	Send(batch []Datagram) (sent int, err error)

	// MTU is the largest datagram that the link carries, in octets.
	MTU() int

	// Close releases the medium. Serve returns, Send fails.
	Close() error
}

// Broadcaster is implemented by links that can reach everybody on their medium at once, as
// ADVERTISE and GWINFO are to [SN-6.1].
type Broadcaster interface {
	// Broadcast sends data to all who are at most radius hops away; radius 0 means as
	// far as the link is configured to. near is the Local of a received datagram that
	// this answers, so that only those it may have come from are reached; the zero Addr
	// reaches all. It never blocks, and may be called from any goroutine. It returns
	// ErrNobody when there is no way to reach anybody, such as on a UDP link without groups.
	Broadcast(near Addr, radius uint8, data []byte) error
}

// Identifier is implemented by links on which peers prove who they are.
type Identifier interface {
	// Identity is the name that the peer at addr has proven, such as its PSK identity;
	// "" if it has proven none. ok is false if there is no such peer any more: what it
	// had proven is not known then.
	Identity(addr Addr) (identity string, ok bool)

	// Where is the network address of the peer at addr, for logs; addr itself if there
	// is no such peer any more.
	Where(addr Addr) string
}

// Owned is implemented by links that say who their peers are taken for.
type Owned interface {
	// User is the user whose rights peers have that prove no identity; "" for those of
	// anonymous clients.
	User() string
}

// Paced is implemented by links so slow that a burst to one peer does not fit: radios and
// serial lines.
type Paced interface {
	// Rate is how many octets per second one peer can be sent; above 0.
	Rate() int
}

// DropCounter is implemented by links that learn from the platform how many
// datagrams were lost before they could be read, for want of socket buffer.
type DropCounter interface {
	ReceiveDrops() uint64
}
