package main

import (
	"errors"
	"fmt"
	"log/slog"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/upstream"
	"mqttsn-gateway/config"
	"mqttsn-gateway/gateway/admin"
)

// brokerSide is the broker that completes the bridge, and what the program says of it.
type brokerSide struct {
	broker  broker.Broker
	metrics admin.Source
	text    string // its part of the announcement
	// local: nobody beyond this host can reach it through us.
	local bool
	// openFlags are the flags that let the network in.
	openFlags string
	// close releases what Serve would, for a start that failed.
	close func() error
}

// newBrokerSide makes the broker that the configuration asks for.
func newBrokerSide(c config.Config, log *slog.Logger) (*brokerSide, error) {
	if c.Broker.URL == "" {
		return nil, errors.New("broker.url: which broker? --broker URL")
	}
	b, err := upstream.New(c.Broker, log)
	if err != nil {
		return nil, fmt.Errorf("broker.%w", err)
	}
	return &brokerSide{
		broker:    b,
		metrics:   upstreamMetrics(b),
		text:      "broker " + c.Broker.URL,
		local:     true,
		openFlags: "--udp :1883",
		close:     func() error { return nil },
	}, nil
}
