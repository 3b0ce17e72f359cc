package main

import (
	"context"
	"log/slog"

	"mqttsn-gateway/config"
	"mqttsn-gateway/gateway"
	"mqttsn-gateway/gateway/dnssd"
)

// announce tells the local networks of the gateway by DNS-SD until ctx is done, if it is
// to: of the first UDP listener that others can reach, and the first with DTLS.
func announce(ctx context.Context, c config.Config, links *linkSet, g *gateway.Gateway, log *slog.Logger) {
	if !c.DNSSD.Enabled {
		return
	}
	service := dnssd.Service{GatewayID: byte(c.Gateway.ID)}
	for _, l := range links.udp {
		if !service.Addr.IsValid() || service.Addr.Addr().IsLoopback() {
			service.Addr = l.Addr()
		}
	}
	if !service.Addr.IsValid() || service.Addr.Addr().IsLoopback() && len(c.DNSSD.Interfaces) == 0 {
		log.Warn("DNS-SD: the gateway is not announced: no UDP listener is for the network; add one with --udp :1883")
		return
	}
	for _, l := range links.dtls {
		if service.DTLSPort == 0 && l.below.Addr().Addr().IsLoopback() == service.Addr.Addr().IsLoopback() {
			service.DTLSPort = l.below.Addr().Port()
		}
	}
	dnssd.Serve(ctx, c.DNSSD, service, g.Ready, log)
}
