package embedded

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
)

// limit is one that a connection has met with, by the name of its option.
type limit byte

const (
	noLimit                limit = iota
	connectionsLimit             // all clients
	listenerLimit                // those of one listener
	addressLimit                 // those of one address
	addressRateLimit             // connections of one address are too many in a short time
	pendingLimit                 // too many have not sent CONNECT: the oldest one had to go
	connectTimeLimit             // no CONNECT in time
	incomingLimit                // octets of large packets that are coming
	connectRateLimit             // all connections are too many in a short time: they wait
	packetRateLimit              // packets of one client: they wait
	subscriptionsLimit           // subscriptions of one client
	sharedLimit                  // shared ones among them
	subscriptionBytesLimit       // octets of them
	sessionBytesLimit            // octets of all sessions
	storeLimit                   // of the store: it takes no new sessions
	aclLimit                     // the rights of a client: there is nothing that it could be sent
	limits
	firstSlowing = connectRateLimit   // from here on connections are not refused
	firstDenying = subscriptionsLimit // and from here on it is requests that are
)

var limitNames = [limits]string{
	connectionsLimit: "max_connections",
	listenerLimit:    "listener_max_connections",
	addressLimit:     "max_connections_per_address",
	addressRateLimit: "connect_rate_per_address",
	pendingLimit:     "max_pending_connections",
	connectTimeLimit: "connect_timeout",
	incomingLimit:    "max_incoming_bytes_total",
	connectRateLimit: "connect_rate",
	packetRateLimit:  "max_packet_rate",

	subscriptionsLimit:     "max_subscriptions",
	sharedLimit:            "max_shared_subscriptions",
	subscriptionBytesLimit: "max_subscription_bytes",
	sessionBytesLimit:      "max_session_bytes_total",
	storeLimit:             "store",
	aclLimit:               "acl_file",
}

// limited counts who has met with a limit, and keeps the log from being flooded with it.
type limited struct {
	count [limits]atomic.Uint64
	news  chan struct{} // there is something to be logged

	mu   sync.Mutex
	told [limits]uint64 // how many the log was told of
	last [limits]net.Addr
}

// meet counts a client at that address that has met with a limit. It is tend that writes
// the log, which may block.
func (l *limited) meet(what limit, remote net.Addr) {
	l.mu.Lock()
	l.count[what].Add(1)
	l.last[what] = remote
	l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// deny counts a request that was refused to a client.
func (l *limited) deny(what limit) {
	l.count[what].Add(1)
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// report logs what was met with since the last report.
func (l *limited) report(log *slog.Logger) {
	for what := noLimit + 1; what < limits; what++ {
		l.mu.Lock()
		n, last := l.count[what].Load()-l.told[what], l.last[what]
		l.told[what] += n
		l.mu.Unlock()
		if n == 0 {
			continue
		}
		text := "MQTT connections were refused or ended: a limit was reached"
		switch what {
		case connectRateLimit:
			text = "MQTT connections had to wait: a limit was reached"
		case packetRateLimit:
			text = "MQTT clients were read more slowly: a limit was reached"
		}
		if what == aclLimit {
			log.Warn("subscriptions of clients were refused: they have no right to anything that these stand for", "limit", limitNames[what], "count", n)
			continue
		}
		if what >= firstDenying {
			log.Warn("requests of clients were refused: a limit was reached", "limit", limitNames[what], "count", n)
			continue
		}
		log.Warn(text, "limit", limitNames[what], "count", n, "last", last.String())
	}
}

// remote is where a connection comes from, for the log. Clients of a unix socket have no
// address: it is the socket's.
func remote(conn net.Conn) net.Addr {
	if addr := conn.LocalAddr(); addr.Network() == "unix" {
		return addr
	}
	return conn.RemoteAddr()
}

// stats is what was counted, by the limit's name.
func (l *limited) stats() (refused, slowed, denied map[string]uint64) {
	refused, slowed, denied = make(map[string]uint64), make(map[string]uint64), make(map[string]uint64)
	for what := noLimit + 1; what < limits; what++ {
		into := refused
		switch {
		case what >= firstDenying:
			into = denied
		case what >= firstSlowing:
			into = slowed
		}
		into[limitNames[what]] = l.count[what].Load()
	}
	return refused, slowed, denied
}
