package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/config"
	"mqttsn-gateway/gateway"
	"mqttsn-gateway/gateway/admin"
	"mqttsn-gateway/gateway/doctor"
	"mqttsn-gateway/gateway/store"
)

// run builds the parts of the gateway and serves until ctx is done.
func run(ctx context.Context, c config.Config, origins config.Origins, log *slog.Logger) error {
	// Whoever tells the gateway to read its files anew while it starts does not end it.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	st, err := openState(c.State, log)
	if err != nil {
		return err
	}
	return errors.Join(runWith(ctx, c, origins, st, hangups, log), st.close())
}

// runWith is run with the state open.
func runWith(ctx context.Context, c config.Config, origins config.Origins, st *state, hangups <-chan os.Signal, log *slog.Logger) error {
	guard, err := auth.New(c.Auth, log)
	if err != nil {
		return fmt.Errorf("auth.%w", err)
	}
	c.MQTT.Access, c.Gateway.Access = guard, guard
	if c.Gateway.QoSMinusOne {
		c.MQTT.ReservedClientID = c.Gateway.QoSMinusOneClientID
	}
	side, err := newBrokerSide(c, st.store, log)
	if err != nil {
		return err
	}
	links, err := openLinks(c, log)
	if err != nil {
		return errors.Join(err, side.close())
	}
	g, err := newGateway(c, links, side, st.store, log)
	if err != nil {
		return errors.Join(err, links.close(), side.close())
	}
	files := newReloader(log)
	files.add("auth", guard)
	files.add("gateway", g)
	if side.files != nil {
		files.add(side.section, side.files)
	}
	if links.trust != nil {
		files.add("dtls", links.trust)
	}
	server, adminAddr, err := newAdmin(c, origins, g, log, append(append(st.metrics(), side.metrics...), linkMetrics(links), files.metrics())...)
	if err != nil {
		return errors.Join(err, links.close(), side.close())
	}
	log.Info(announcement(links, side, adminAddr))
	for _, warning := range exposed(c.Auth, links, side) {
		log.Warn(warning)
	}
	log.Info(st.text)
	var beside sync.WaitGroup
	defer beside.Wait()
	serving, stop := context.WithCancel(ctx)
	defer stop()
	beside.Go(func() { announce(serving, c, links, g, log) })
	beside.Go(func() { files.run(serving, hangups) })
	beside.Go(func() { serviceWatch(serving, g, log) })
	serviceReady(log)
	return serve(ctx, g, server, log)
}

// serve runs the gateway, and the admin server for as long as that takes, so that it can
// tell that a shutdown is under way.
func serve(ctx context.Context, g *gateway.Gateway, server *admin.Server, log *slog.Logger) error {
	adminCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	if server != nil {
		go func() { ended <- server.Serve(adminCtx) }()
	} else {
		ended <- nil
	}
	told := make(chan struct{})
	context.AfterFunc(ctx, func() {
		log.Info("shutting down")
		serviceStops()
		close(told)
	})
	err := g.Run(ctx)
	if ctx.Err() != nil {
		<-told
	}
	stop()
	if adminErr := <-ended; adminErr != nil {
		log.Error(adminErr.Error())
	}
	if err == nil {
		log.Info("stopped")
	}
	return err
}

func newGateway(c config.Config, links *linkSet, side *brokerSide, st store.Store, log *slog.Logger) (*gateway.Gateway, error) {
	options, err := c.GatewayOptions()
	if err != nil {
		return nil, err
	}
	return gateway.New(options, links.all, side.broker, st, log)
}

// newAdmin makes the admin server and returns its address; nil and "" if there is none.
// That somebody else has the default address stops nothing, since nobody asked for it.
func newAdmin(c config.Config, origins config.Origins, g *gateway.Gateway, log *slog.Logger, sources ...admin.Source) (*admin.Server, string, error) {
	if c.Admin.Listen == "" {
		return nil, "", nil
	}
	listener, err := net.Listen("tcp", c.Admin.Listen)
	if err != nil {
		err = fmt.Errorf("admin.listen: %w (--admin \"\" does without)", doctor.TCPPort(c.Admin.Listen, err))
		if _, asked := origins["admin.listen"]; asked {
			return nil, "", err
		}
		log.Warn("no health checks and metrics: " + err.Error())
		return nil, "", nil
	}
	server, err := admin.New(listener, g, log, sources...)
	if err != nil {
		return nil, "", errors.Join(err, listener.Close())
	}
	return server, listener.Addr().String(), nil
}

// announcement is the line that says what listens, and how to open it or what that means.
func announcement(links *linkSet, side *brokerSide, adminAddr string) string {
	var parts []string
	for _, l := range links.all {
		parts = append(parts, "mqtt-sn "+l.Name())
	}
	parts = append(parts, side.text)
	if adminAddr != "" {
		parts = append(parts, "admin http://"+adminAddr)
	}
	text := "listening: " + strings.Join(parts, ", ")
	local, plain := links.local()
	switch {
	case local && side.local:
		return text + "; only this host can connect, to open it to the network: gateway " + side.openFlags
	}
	text += "; the network can connect"
	if plain || side.plain {
		text += ", and plain UDP and TCP have no encryption"
	}
	return text
}
