package dtls

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"mqttsn-gateway/transports"
)

// Serve hands on the messages that connections receive until ctx is done or the link is
// closed, and returns nil then. Connections stay open until Close, so that farewells can
// be sent, but nothing more is received. It gives up when the socket fails for good.
func (l *Link) Serve(ctx context.Context, recv func(batch []transports.Datagram)) error {
	var failure error
	done := make(chan struct{})
	go func() {
		failure = l.receive()
		close(done)
	}()
	idle := time.NewTicker(min(l.options.IdleTimeout/4, time.Minute))
	defer idle.Stop()
	for {
		select {
		case <-l.inbox.wake:
			for batch := l.inbox.take(); len(batch) > 0; {
				n := min(len(batch), maxBatch)
				recv(batch[:n])
				batch = batch[n:]
			}
		case <-idle.C:
			l.closeIdle()
		case <-ctx.Done():
			l.socket.interrupt()
			<-done
			return nil
		case <-done:
			return failure
		}
	}
}

// maxBatch is how many messages recv gets at once; more would make others wait.
const maxBatch = 64

// maxFailures in a row end Serve, after some five seconds.
const maxFailures = 60

// receive reads the socket until it is closed, interrupted or broken. Its other errors are
// passed over, since on UDP nearly all of them tell of a datagram that was sent earlier.
func (l *Link) receive() error {
	d := newDemux(l)
	b := make([]byte, maxDatagram+1) // one octet more tells of a longer datagram
	for failures := 0; ; {
		n, from, err := l.socket.receive(b)
		var timeout net.Error
		switch {
		case err == nil && n > maxDatagram:
			l.counters.drop.truncated.Add(1)
			failures = 0
		case err == nil:
			d.datagram(b[:n], from)
			failures = 0
		case errors.Is(err, net.ErrClosed), errors.As(err, &timeout) && timeout.Timeout():
			return nil
		case errors.Is(err, errPeerGone):
		default:
			if failures++; failures == maxFailures {
				return fmt.Errorf("%s: receive: %w", l.name, cause(err))
			}
			time.Sleep(min(time.Millisecond<<min(failures, 10), 100*time.Millisecond))
		}
	}
}
