package gateway

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

const (
	// searchJitter bounds the random wait before a GWINFO to all: gateways that hear the
	// same SEARCHGW shall not answer at the same instant.
	searchJitter = time.Second
	// searchSpacing is the least time between two GWINFOs to all on one link: one answers
	// everybody who asked meanwhile.
	searchSpacing = 5 * time.Second
	// searchPlaces is how many parts of a link may wait for a GWINFO.
	searchPlaces = 16
	// readyPoll is how often a gateway that cannot serve looks whether it can.
	readyPoll = time.Second
)

// search is what a link owes to those who have asked everybody for gateways. It belongs
// to the intake, and is touched only while that is locked.
type search struct {
	timer   *time.Timer
	set     bool
	last    time.Duration
	pending []searchPlace
}

// searchPlace is a part of the link's medium, and how far into it the answer has to go.
type searchPlace struct {
	near   transports.Addr
	radius uint8
}

func (s *search) init(in *intake) {
	s.timer = time.AfterFunc(time.Hour, in.answerSearches)
	s.timer.Stop()
	s.last = -searchSpacing
}

// searched takes a SEARCHGW. A gateway that could not serve stays silent, as it does
// without ADVERTISE [SN-6.1]. Who asked this gateway alone is answered alone; who asked
// all is answered so that all hear it and need not ask. On IP networks, where a client may
// not hear the group, and asks a broadcast address, it is answered by itself as well.
func (in *intake) searched(now time.Duration, a *arrival, radius uint8) {
	if !in.gateway.Ready() {
		in.counts.dropped[notReady]++
		return
	}
	_, canBroadcast := in.link.(transports.Broadcaster)
	_, _, ip := a.Addr.AddrPort()
	switch {
	case a.node != nil:
		in.answerNode(now, a, radius)
	case a.Multicast && canBroadcast && !ip:
		in.schedule(now, searchPlace{a.Local, radius})
	case !in.searchers.allow(now, a.Addr):
		in.counts.dropped[searchedTooOften]++
	default:
		in.answer(a, in.gateway.info())
		if a.Multicast && canBroadcast {
			in.schedule(now, searchPlace{a.Local, radius})
		}
	}
}

// answerNode has the forwarder of a node broadcast the answer. The frame has room for a
// radius of 3, which also stands for the whole network [SN-5.5].
func (in *intake) answerNode(now time.Duration, a *arrival, radius uint8) {
	if !in.searchers.allow(now, a.Addr) {
		in.counts.dropped[searchedTooOften]++
		return
	}
	if radius == 0 || radius > 3 {
		radius = 3
	}
	frame := mqttsn.Encapsulated{Radius: radius, NodeID: a.node, Packet: in.gateway.info()}
	in.counts.sent[slot(mqttsn.TypeGWInfo)]++
	in.outbox.put(&transports.Peer{Link: in.id, Addr: a.Addr}, a.Local, frame.Append(nil))
}

// schedule sees to it that those near get an answer soon.
func (in *intake) schedule(now time.Duration, p searchPlace) {
	s := &in.search
	i := slices.IndexFunc(s.pending, func(other searchPlace) bool { return other.near == p.near })
	switch {
	case i >= 0:
		s.pending[i].radius = wider(s.pending[i].radius, p.radius)
	case len(s.pending) < searchPlaces:
		s.pending = append(s.pending, p)
	default:
		in.counts.dropped[searchedTooOften]++
		return
	}
	if !s.set {
		s.set = true
		s.timer.Reset(max(rand.N(searchJitter), s.last+searchSpacing-now))
	}
}

// wider is the larger of two radii; 0 is the whole network.
func wider(a, b uint8) uint8 {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

// answerSearches is the timer's visit.
func (in *intake) answerSearches() {
	if in.gateway.over.Load() {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	s := &in.search
	for _, p := range s.pending {
		if !in.gateway.Ready() {
			in.counts.dropped[notReady]++
		} else if in.broadcast(p.near, p.radius, mqttsn.TypeGWInfo, in.gateway.info()) != nil {
			in.counts.dropped[linkBusy]++
		}
	}
	s.pending, s.set, s.last = s.pending[:0], false, in.gateway.now()
}

// broadcast sends a packet to all who are near, if there is a way to. The intake is locked.
func (in *intake) broadcast(near transports.Addr, radius uint8, t mqttsn.Type, packet []byte) error {
	all, ok := in.link.(transports.Broadcaster)
	if !ok {
		return nil
	}
	err := all.Broadcast(near, radius, packet)
	switch {
	case err == nil:
		in.counts.sent[slot(t)]++
	case errors.Is(err, transports.ErrNobody):
		return nil
	}
	return err
}

// info is this gateway's GWINFO; a gateway puts no address there [SN-5.4.3].
func (g *Gateway) info() []byte {
	return mqttsn.GWInfo{GatewayID: byte(g.options.ID)}.Append(nil)
}

// advertise announces the gateway on all links while it can serve, and says truly when it
// will do so again [SN-6.1].
func (g *Gateway) advertise(ctx context.Context) {
	if g.options.Advertise == 0 {
		return
	}
	packet := mqttsn.Advertise{
		GatewayID: byte(g.options.ID), Duration: uint16(g.options.Advertise / time.Second),
	}.Append(nil)
	next := make([]time.Duration, len(g.intakes)) // by link
	for ctx.Err() == nil {
		now := g.now()
		due := now + readyPoll
		if g.Ready() {
			due = now + g.options.Advertise
			for i, in := range g.intakes {
				if next[i] <= now {
					next[i] = now + g.options.Advertise
					in.mu.Lock()
					if in.broadcast(transports.Addr{}, 0, mqttsn.TypeAdvertise, packet) != nil {
						next[i] = now + readyPoll // a port that is not plugged in, say
					}
					in.mu.Unlock()
				}
				due = min(due, next[i])
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(due - now):
		}
	}
}
