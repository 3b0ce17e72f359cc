package dnssd

import (
	"io"
	"net"
	"net/netip"

	"github.com/pion/logging"
	"github.com/pion/mdns/v2"
)

// start starts the library on interfaces, with sockets that it then owns. Of its errors
// and warnings nothing is kept: they are about single datagrams.
func start(p pair, nics []nic, more ...mdns.ServerOption) (*mdns.Conn, error) {
	list := make([]net.Interface, len(nics))
	for i, n := range nics {
		list[i] = n.Interface
	}
	silent := &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
	conn, err := mdns.NewServer(p.v4, p.v6, append([]mdns.ServerOption{
		mdns.WithInterfaces(list...),
		mdns.WithIncludeLoopback(true),
		mdns.WithLoggerFactory(silent),
	}, more...)...)
	if err != nil {
		p.close()
		return nil, err
	}
	return conn, nil
}

// offer makes the library answer for a service.
func offer(n names, s Service) []mdns.ServerOption {
	instance := mdns.ServiceInstance{Instance: n.instance, Service: serviceType, Port: s.Addr.Port()}
	for _, pair := range s.text() {
		instance.Text = append(instance.Text, mdns.NewTXTString(pair[0], pair[1]))
	}
	options := []mdns.ServerOption{
		mdns.WithLocalNames(n.host), mdns.WithService(instance), mdns.WithResponseTTL(hostTTL), mdns.WithCacheRefresh(false),
	}
	if at := s.Addr.Addr(); !at.IsUnspecified() {
		options = append(options, mdns.WithLocalAddress(at.WithZone("").AsSlice()))
	}
	return options
}

// seen makes a Gateway of what the library has found; ok is false for other services,
// which it reports too.
func seen(e mdns.ServiceEvent) (g Gateway, ok bool) {
	i := e.Instance
	if i.Service != serviceType || i.Port == 0 || !e.Addr.IsValid() {
		return g, false
	}
	g = Gateway{Name: i.Instance, Addr: netip.AddrPortFrom(e.Addr, i.Port), ID: -1}
	for _, t := range i.Text {
		g.learn(t.Key, string(t.Value))
	}
	return g, true
}
