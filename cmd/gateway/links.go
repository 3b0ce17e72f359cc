package main

import (
	"errors"
	"fmt"
	"log/slog"

	"mqttsn-gateway/config"
	"mqttsn-gateway/gateway/admin"
	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/udp"
)

// linkSet is the links on which clients reach the gateway, and what the program says of
// them.
type linkSet struct {
	all     []transports.Link
	metrics []admin.Source
	// local: nobody beyond this host, and what is plugged into it, can reach it.
	local bool
	// plain: the network can reach a link without encryption.
	plain bool
}

// openLinks opens what the configuration asks for, all or nothing.
func openLinks(c config.Config, log *slog.Logger) (*linkSet, error) {
	set := &linkSet{local: true}
	for _, open := range []func(config.Config, *slog.Logger) error{set.openUDP} {
		if err := open(c, log); err != nil {
			return nil, errors.Join(err, set.close())
		}
	}
	return set, nil
}

func (s *linkSet) close() error {
	var err error
	for _, l := range s.all {
		err = errors.Join(err, l.Close())
	}
	return err
}

func (s *linkSet) openUDP(c config.Config, _ *slog.Logger) error {
	var links []*udp.Link
	for i, o := range c.UDP {
		l, err := udp.Listen(o)
		if err != nil {
			return fmt.Errorf("udp.%d: %w", i, err)
		}
		links = append(links, l)
		s.all = append(s.all, l)
		if !l.Addr().Addr().IsLoopback() {
			s.local, s.plain = false, true
		}
	}
	s.metrics = append(s.metrics, udpMetrics(links))
	return nil
}
