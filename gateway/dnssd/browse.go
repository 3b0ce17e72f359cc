package dnssd

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/pion/mdns/v2"
)

// Gateway is what a gateway says of itself by DNS-SD.
type Gateway struct {
	// Name is the name of the service, as it came from the network.
	Name string
	// Addr is where it listens for MQTT-SN over UDP.
	Addr netip.AddrPort
	// ID is its gateway id, -1 if it does not say.
	ID int
	// Version is that of MQTT-SN; "" if it does not say.
	Version string
	// DTLSPort is where it listens for MQTT-SN over DTLS; 0 if it does not.
	DTLSPort uint16
}

// learn takes one entry of the TXT record. What makes no sense is passed over.
func (g *Gateway) learn(key, value string) {
	switch strings.ToLower(key) { // RFC 6763, 6.4
	case keyVersion:
		g.Version = value
	case keyID:
		if id, err := strconv.ParseUint(value, 10, 8); err == nil {
			g.ID = int(id)
		}
	case keyDTLS:
		if port, err := strconv.ParseUint(value, 10, 16); err == nil {
			g.DTLSPort = uint16(port)
		}
	}
}

// Browse asks for gateways on the interfaces with these names, or on every one that can
// multicast, until ctx is done; then it returns nil. It tells found of each address that
// a gateway gives, perhaps more than once, and from one goroutine at a time. It returns an
// error at once if it cannot ask.
func Browse(ctx context.Context, interfaces []string, found func(Gateway)) error {
	nics, err := pick(interfaces, netip.Addr{})
	if err != nil {
		return err
	}
	p, err := openPair(nics)
	if err != nil {
		return err
	}
	conn, err := start(p, nics)
	if err != nil {
		return err
	}
	var one sync.Mutex
	conn.OnServiceDiscovered(func(e mdns.ServiceEvent) {
		if g, ok := seen(e); ok {
			one.Lock()
			defer one.Unlock()
			found(g)
		}
	})
	err = conn.Browse(ctx, serviceType)
	if err == nil {
		<-ctx.Done()
	}
	_ = conn.Close() // waits for its goroutines
	return err
}
