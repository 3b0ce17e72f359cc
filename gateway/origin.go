package gateway

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/transports"
)

// The words of Options.UserProperties.
const (
	tellClient  = "client"
	tellGateway = "gateway"
	tellSignal  = "signal"
	tellHop     = "hop"
)

// The names of the user properties, which nobody writes to.
var (
	nameClient    = []byte("mqttsn-client")
	nameGateway   = []byte("mqttsn-gateway")
	nameSignal    = []byte("mqttsn-signal")
	nameHop       = []byte("mqttsn-hop")
	nameForwarder = []byte("mqttsn-forwarder")
	nameNode      = []byte("mqttsn-node")
)

// origin says what the messages of clients tell of where they come from:
// Options.UserProperties, read.
type origin struct {
	any, client, signal, hop bool
	gateway                  []byte // its id; nil if it is not told
}

func newOrigin(o *Options) (told origin, err error) {
	for i, word := range o.UserProperties {
		if slices.Contains(o.UserProperties[:i], word) {
			return told, fmt.Errorf("user_properties: %q is listed twice", word)
		}
		told.any = true
		switch word {
		case tellClient:
			told.client = true
		case tellGateway:
			told.gateway = strconv.AppendInt(nil, int64(o.ID), 10)
		case tellSignal:
			told.signal = true
		case tellHop:
			told.hop = true
		default:
			return told, fmt.Errorf("user_properties: %q is not allowed: %s, %s, %s or %s", word, tellClient, tellGateway, tellSignal, tellHop)
		}
	}
	return told, nil
}

// strength is how strong a packet was that came from a client's own radio, in dBm; 0 if
// that is not known. What a forwarder carries was received by the forwarder.
func (a *arrival) strength() int8 {
	if a.node != nil {
		return 0
	}
	return a.Signal
}

// heard notes at which strength a packet of the client was received.
func (c *client) heard(a *arrival) {
	if s := a.strength(); s != c.signal && c.shard.gateway.origin.signal {
		c.signal, c.user = s, nil
	}
}

// origin is what a message of the client tells of where it comes from. It is made once for
// each place and signal strength.
func (c *client) origin() []broker.UserProperty {
	g := c.shard.gateway
	if !g.origin.any {
		return nil
	}
	if c.user == nil {
		var peer *transports.Peer
		if c.place != nil {
			peer = &c.place.peer
		}
		c.user = g.tell(c.session.ID(), peer, c.signal)
	}
	return c.user
}

// origin is what a message without a session tells of where it comes from. Its sender is
// only known where an identity is a ClientID: an address proves nothing.
func (in *intake) origin(a *arrival) []broker.UserProperty {
	g := in.gateway
	if !g.origin.any {
		return nil
	}
	id, peer := "", in.peer(a)
	if g.options.identityIsClientID() {
		id, _ = in.identity(a)
	}
	return g.tell(id, &peer, a.strength())
}

// tell lists the user properties of a message; clientID is "" if it is not known, signal 0,
// peer nil.
func (g *Gateway) tell(clientID string, peer *transports.Peer, signal int8) (list []broker.UserProperty) {
	add := func(name []byte, value string) {
		if value != "" {
			list = append(list, broker.UserProperty{Name: name, Value: []byte(value)})
		}
	}
	o := &g.origin
	if o.client {
		add(nameClient, clientID)
	}
	if o.gateway != nil {
		list = append(list, broker.UserProperty{Name: nameGateway, Value: o.gateway})
	}
	if o.signal && signal != 0 {
		add(nameSignal, strconv.Itoa(int(signal)))
	}
	if o.hop && peer != nil {
		add(nameHop, printable(g.links[peer.Link].Name()))
		node := hex.EncodeToString(peer.Addr.Node())
		if peer.Node != "" {
			add(nameForwarder, printable(g.forwarderName(peer)))
			node = hex.EncodeToString([]byte(peer.Node))
		}
		add(nameNode, node)
	}
	return list
}

// forwarderName is the forwarder that peer is behind: the identity that it has proven, or
// its address; "" on a serial line, where there is but one.
func (g *Gateway) forwarderName(peer *transports.Peer) string {
	if identifier := g.intakes[peer.Link].identifier; identifier != nil {
		identity, _ := identifier.Identity(peer.Addr)
		return identity
	}
	if _, _, ok := peer.Addr.AddrPort(); ok || peer.Addr.Node() != nil {
		return peer.Addr.String()
	}
	return ""
}

// longestProperty bounds the value of a property that is not a ClientID, in octets.
const longestProperty = 512

// printable is s as UTF-8 without control characters, and bounded.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return '?'
		}
		return r
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), longestProperty)], "")
}
