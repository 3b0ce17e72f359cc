package embedded

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"mqttsn-gateway/broker"
)

// Serve serves MQTT clients until ctx is done, and then takes at most some two seconds to
// take leave of them: broker.Broker. It may be called once.
func (b *Broker) Serve(ctx context.Context, wake func()) error {
	b.wake = wake
	var parts sync.WaitGroup
	for _, l := range b.listeners {
		for _, s := range l.sockets {
			parts.Go(func() { b.accept(ctx, l, s) })
		}
	}
	tending, stop := context.WithCancel(context.WithoutCancel(ctx))
	parts.Go(func() { b.tend(tending) })
	if b.store != nil {
		parts.Go(func() { b.keepPromises(tending) })
	}
	<-ctx.Done()
	b.shutDown()
	stop()
	parts.Wait()
	b.journal.report()
	return nil
}

// accept lets clients in until ctx is done.
func (b *Broker) accept(ctx context.Context, l *listener, s net.Listener) {
	var pause time.Duration
	for {
		conn, err := s.Accept()
		switch {
		case err == nil:
			pause = 0
			if b.serve(l, conn) {
				b.pace(ctx, conn)
			}
			continue
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		}
		// Mostly the process has no file descriptor left: that passes.
		if pause == 0 {
			b.log.Error("cannot accept MQTT clients", "listener", s.Addr().String(), "error", err)
		}
		pause = min(max(2*pause, 10*time.Millisecond), time.Second)
		pauseFor(pause, ctx.Done())
	}
}

// reportInterval is how often the log is told of limits that were reached, at most.
const reportInterval = 10 * time.Second

// reviewInterval is how soon clients learn that their user has gone from the access files.
const reviewInterval = time.Second

// tend does what is due at some instant: sessions end, delayed wills are published, $SYS
// is brought up to date.
func (b *Broker) tend(ctx context.Context) {
	var tick <-chan time.Time
	if b.options.SysInterval > 0 {
		ticker := time.NewTicker(b.options.SysInterval)
		defer ticker.Stop()
		tick = ticker.C
	}
	var looking <-chan time.Time
	generation := b.options.Access.Generation()
	if b.options.Access != nil {
		ticker := time.NewTicker(reviewInterval)
		defer ticker.Stop()
		looking = ticker.C
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	news, quiet := b.limited.news, (<-chan time.Time)(nil)
	for {
		select {
		case <-news:
			b.limited.report(b.log)
			news, quiet = nil, time.After(reportInterval)
		case <-looking:
			if now := b.options.Access.Generation(); now != generation {
				generation = now
				b.review()
			}
		case <-quiet:
			news, quiet = b.limited.news, nil
		case <-timer.C:
			b.expire()
		case <-b.deadlines.earlier:
		case <-tick:
			b.sys.publish()
		case id := <-b.full:
			b.warnFull(id)
		case <-ctx.Done():
			return
		}
		b.settle()
		if at, ok := b.deadlines.next(); ok {
			timer.Reset(max(at-b.now(), 0))
		}
	}
}

// shutDown ends all connections: clients are sent what is waiting for them, and MQTT 5
// clients are told why.
func (b *Broker) shutDown() {
	b.mu.Lock()
	b.closing = true
	b.mu.Unlock()
	_ = b.Close()
	b.clients.mu.Lock()
	b.clients.closed = true
	for c := range b.clients.open {
		c.end(broker.CodeShuttingDown)
	}
	b.clients.mu.Unlock()
	b.Flush()
	gone := make(chan struct{})
	go func() {
		b.clients.group.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return
	case <-time.After(lingerTime):
	}
	b.clients.mu.Lock()
	for c := range b.clients.open {
		c.socket.Close()
	}
	b.clients.mu.Unlock()
	<-gone
}
