package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"syscall"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/aggregate"
	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/broker/upstream"
	"mqttsn-gateway/config"
	"mqttsn-gateway/gateway/admin"
	"mqttsn-gateway/gateway/doctor"
	"mqttsn-gateway/gateway/store"
)

// brokerSide is the broker that completes the bridge, and what the program says of it.
type brokerSide struct {
	broker  broker.Broker
	metrics []admin.Source
	text    string // its part of the announcement
	// local: nobody beyond this host can reach it through us; plain: somebody can, and
	// without encryption; open: and without a password or certificate.
	local, plain, open bool
	// openFlags are the flags that let the network in.
	openFlags string
	// files may change while it runs, and section is where they are named; nil if it has none.
	files   reloadable
	section string
	// close releases what Serve would, for a start that failed.
	close func() error
}

// newBrokerSide makes the broker that the configuration asks for, with what has to survive
// the process in st; nil if nothing does.
func newBrokerSide(c config.Config, st store.Store, log *slog.Logger) (*brokerSide, error) {
	if c.Broker.URL == "" {
		return newEmbedded(c.MQTT, st, log)
	}
	b, err := upstream.New(c.Broker, st, log)
	if err != nil {
		return nil, fmt.Errorf("broker.%w", err)
	}
	side := &brokerSide{
		broker:    b,
		metrics:   []admin.Source{upstreamMetrics(b)},
		text:      "broker " + c.Broker.URL,
		local:     true,
		files:     b,
		section:   "broker",
		openFlags: "--udp :1883",
		close:     func() error { return nil },
	}
	if c.Broker.Mode == upstream.Aggregating {
		return side, side.aggregate(c, st, log)
	}
	return side, nil
}

// aggregate puts the local half of a bridge before the way to the broker: it has no
// listeners, and no topics of its own.
func (s *brokerSide) aggregate(c config.Config, st store.Store, log *slog.Logger) error {
	links, err := aggregate.New(aggregate.Options{ClientID: c.Broker.ClientID, Links: c.Broker.Connections}, s.broker, st, log)
	if err != nil {
		return err
	}
	o := c.MQTT
	o.Listeners, o.SysInterval = nil, 0
	local, err := embedded.NewBridged(o, links, st, log)
	if err != nil {
		return fmt.Errorf("mqtt: %w", err)
	}
	links.Join(local)
	s.broker = links
	s.metrics = append(s.metrics, embeddedMetrics(local))
	s.text = fmt.Sprintf("%s over %d connections", s.text, c.Broker.Connections)
	return nil
}

func newEmbedded(o embedded.Options, st store.Store, log *slog.Logger) (*brokerSide, error) {
	b, err := embedded.New(o, st, log)
	if taken := (*embedded.ListenError)(nil); errors.As(err, &taken) {
		return nil, fmt.Errorf("mqtt.listeners.%d.listen: %w", taken.Index, explainListen(taken.Addr, err))
	}
	if wrong := (*embedded.FileError)(nil); errors.As(err, &wrong) {
		return nil, fmt.Errorf("mqtt.%w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("mqtt: %w", err)
	}
	side := &brokerSide{
		broker:    b,
		metrics:   []admin.Source{embeddedMetrics(b)},
		local:     true,
		files:     b,
		section:   "mqtt",
		openFlags: "--udp :1883 --mqtt :1883",
		close:     b.Close,
	}
	var texts []string
	for _, way := range b.Ways() {
		addr := way.Addr
		texts = append(texts, way.Scheme+" "+addr.Network()+" "+addr.String())
		ap, err := netip.ParseAddrPort(addr.String())
		loopback := err == nil && ap.Addr().IsLoopback()
		if loopback || addr.Network() == "unix" {
			continue
		}
		side.local = false
		side.plain = side.plain || !way.TLS
		side.open = side.open || o.Access.Anonymous() && !way.Certificate
	}
	if len(texts) == 0 {
		texts = []string{"no MQTT clients"}
	}
	side.text = strings.Join(texts, ", ") + " (embedded broker)"
	return side, nil
}

// explainListen says why the embedded broker cannot listen, and what helps.
func explainListen(addr string, err error) error {
	if path, unix := strings.CutPrefix(addr, "unix:"); unix {
		return doctor.UnixSocket(path, err)
	}
	explained := doctor.TCPPort(addr, err)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; or have devices use a broker that is there: --broker mqtt://localhost:1883", explained)
	}
	return explained
}
