//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mqttsn-gateway/test/load/generator"
)

// measure runs everything and prints the table line by line.
func (s *settings) measure(ctx context.Context) error {
	if s.start == "" && s.pid == 0 {
		program, remove, err := build(ctx)
		if err != nil {
			return err
		}
		defer remove()
		s.start = program + " --udp {udp} --mqtt {mqtt} --admin '' --set gateway.max_clients=100000"
	}
	fmt.Printf("window %d, payload %d octets, %d runs of %v\n\n", s.window, s.payload, s.runs, s.length)
	fmt.Println(header)
	for _, clients := range s.clients {
		if s.idle { // first: a server that runs already has the memory of earlier clients
			perClient, err := s.idleMemory(ctx, clients)
			if err != nil {
				return fmt.Errorf("idle, %d clients: %w", clients, err)
			}
			fmt.Printf("%-18s %7d  %d octets of RSS per client\n", "idle", clients, perClient)
		}
		echo := map[generator.Scenario]row{}
		for _, sc := range []generator.Scenario{generator.Ping, generator.UpQoS1} {
			r, err := s.repeat(ctx, sc, clients, true)
			if err != nil {
				return fmt.Errorf("bare echo: %w", err)
			}
			echo[sc] = r
			fmt.Println(r.line("echo: "+name(sc), clients, row{}))
		}
		for _, sc := range s.scenarios {
			r, err := s.repeat(ctx, sc, clients, false)
			if err != nil {
				return fmt.Errorf("%s, %d clients: %w", sc, clients, err)
			}
			bare, ok := echo[sc]
			if !ok {
				bare = echo[generator.UpQoS1] // 64 octets one way, a few the other
			}
			fmt.Println(r.line(string(sc), clients, bare))
		}
	}
	return nil
}

// name says what the bare echo does in a scenario.
func name(sc generator.Scenario) string {
	if sc == generator.UpQoS1 {
		return "PUBACK"
	}
	return "PINGRESP"
}

// repeat makes all runs of one scenario and returns their medians.
func (s *settings) repeat(ctx context.Context, sc generator.Scenario, clients int, bare bool) (row, error) {
	var runs []generator.Result
	for range s.runs {
		r, err := s.once(ctx, sc, clients, bare)
		if err != nil {
			return row{}, err
		}
		runs = append(runs, r)
	}
	return median(runs), nil
}

// once makes one run against a fresh server, or the one that runs already.
func (s *settings) once(ctx context.Context, sc generator.Scenario, clients int, bare bool) (r generator.Result, err error) {
	srv, err := s.server(ctx, bare)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, srv.stop()) }()
	g, err := s.generator(srv, clients, bare)
	if err != nil {
		return r, err
	}
	defer g.Close()
	if !bare {
		if err := g.Connect(); err != nil {
			return r, err
		}
	}
	return g.Run(sc, s.length)
}

func (s *settings) generator(srv *server, clients int, bare bool) (*generator.Generator, error) {
	return generator.New(generator.Options{
		UDP: srv.udp, MQTT: srv.mqtt, Clients: clients, Window: s.window, Payload: s.payload, SubscriberQoS: byte(s.qos), Lasting: s.lasting,
		Bare: bare, Server: srv.pid, Broker: s.brokerPID,
	})
}

// idleMemory is by how many octets each of many connected clients makes the server grow.
func (s *settings) idleMemory(ctx context.Context, clients int) (perClient int, err error) {
	srv, err := s.server(ctx, false)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, srv.stop()) }()
	before, err := generator.RSS(srv.pid)
	if err != nil {
		return 0, err
	}
	g, err := s.generator(srv, clients, false)
	if err != nil {
		return 0, err
	}
	defer g.Close()
	if err := g.Connect(); err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(time.Second): // until it is idle indeed
	}
	after, err := generator.RSS(srv.pid)
	return (after - before) / clients, err
}

// row is one line of the table: medians of the runs.
type row struct {
	perSecond, perCPU float64
	p50, p99          time.Duration
	runs              []generator.Result
	disturbed         bool
}

// median takes the median of each figure, over the undisturbed runs if there are two.
func median(runs []generator.Result) row {
	clean := slices.DeleteFunc(slices.Clone(runs), disturbed)
	r := row{runs: runs, disturbed: len(clean) < len(runs)}
	if len(clean) < 2 {
		clean = runs
	}
	middle := func(figure func(generator.Result) float64) float64 {
		var all []float64
		for _, run := range clean {
			all = append(all, figure(run))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	r.perSecond = middle(func(r generator.Result) float64 { return float64(r.Messages) / r.Elapsed.Seconds() })
	r.perCPU = middle(func(r generator.Result) float64 {
		return float64(r.Messages) / max(r.Server.Seconds(), 0.01)
	})
	r.p50 = time.Duration(middle(func(r generator.Result) float64 { return float64(r.P50) }))
	r.p99 = time.Duration(middle(func(r generator.Result) float64 { return float64(r.P99) }))
	return r
}

// disturbed reports whether others took more than a quarter of a CPU.
func disturbed(r generator.Result) bool { return r.Other > r.Elapsed/4 }

const header = "scenario           clients   msgs/s  msgs/CPU-s  us/msg  of echo      p50      p99    lost   dup  refused"

func (r row) line(what string, clients int, bare row) string {
	each, ratio := "-", "-"
	if r.perCPU > 0 {
		each = fmt.Sprintf("%.2f", 1e6/r.perCPU)
	}
	if bare.perCPU > 0 {
		ratio = fmt.Sprintf("%.2f", r.perCPU/bare.perCPU)
	}
	lost, duplicates, refused := 0, 0, 0
	for _, run := range r.runs {
		lost += run.Lost
		duplicates += run.Duplicates
		refused += run.Refused
	}
	mark := ""
	if r.disturbed {
		mark = " *"
	}
	return fmt.Sprintf("%-18s %7d %8.0f  %10.0f  %6s  %7s  %7s  %7s  %6d  %4d  %7d%s", what, clients, r.perSecond, r.perCPU,
		each, ratio, short(r.p50), short(r.p99), lost, duplicates, refused, mark)
}

// short is a duration in microseconds, or from 10 ms in milliseconds.
func short(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%d us", d.Microseconds())
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
