package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"mqttsn-gateway/transports"
)

// Serve hands on what arrives until ctx is done or the link is closed, and returns nil
// then. Errors of the socket are passed over, since on UDP nearly all of them tell of a
// datagram that was sent earlier; Serve gives up when nothing else comes any more.
func (l *Link) Serve(ctx context.Context, recv func(batch []transports.Datagram)) error {
	if l.groups == nil {
		return l.pump(ctx, l.conn, l.socket, recv)
	}
	ctx, cancel := context.WithCancel(ctx)
	var one sync.Mutex
	inTurn := func(batch []transports.Datagram) {
		one.Lock()
		defer one.Unlock()
		recv(batch)
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { l.groups.watch(ctx) })
	for _, e := range l.ears() {
		all.Go(func() {
			if err := l.pump(ctx, e.conn, e.socket, onlyGroups(inTurn)); err != nil {
				l.groups.log.Error("a multicast group is heard no more", "group", e.group, "err", err)
			}
		})
	}
	return l.pump(ctx, l.conn, l.socket, inTurn)
}

// onlyGroups leaves out what was not sent to a group. Nothing else arrives at an ear on
// Linux; elsewhere it may, and was meant for whoever has that port.
func onlyGroups(recv func(batch []transports.Datagram)) func(batch []transports.Datagram) {
	return func(batch []transports.Datagram) {
		kept := batch[:0]
		for _, d := range batch {
			if d.Local.IsZero() { // the platform does not tell
				d.Multicast = true
			}
			if d.Multicast {
				kept = append(kept, d)
			}
		}
		if len(kept) > 0 {
			recv(kept)
		}
	}
}

// watch looks for interfaces that have come or gone until ctx is done.
func (g *groups) watch(ctx context.Context) {
	g.report()
	t := time.NewTicker(g.every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := g.refresh(); err != nil {
				g.log.Warn("the interfaces of this machine cannot be listed", "err", err)
			}
		}
	}
}

// pump hands on what arrives at one socket.
func (l *Link) pump(ctx context.Context, conn *net.UDPConn, s socket, recv func(batch []transports.Datagram)) error {
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // wakes receive
	})
	defer stop()
	for failures := 0; ; {
		batch, err := s.receive()
		switch {
		case ctx.Err() != nil, errors.Is(err, net.ErrClosed):
			return nil
		case err == nil:
			failures = 0
			if len(batch) > 0 {
				recv(batch)
			}
		case errors.Is(err, errPeerGone):
			// An earlier datagram of ours found no one: not our concern.
		default:
			if failures++; failures == maxFailures {
				return fmt.Errorf("%s: receive: %w", l.name, cause(err))
			}
			pause(ctx, failures)
		}
	}
}

// maxFailures in a row end Serve, after some five seconds.
const maxFailures = 60

// pause waits 1 ms, longer after more failures, at most 100 ms.
func pause(ctx context.Context, failures int) {
	t := time.NewTimer(min(time.Millisecond<<min(failures, 10), 100*time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
