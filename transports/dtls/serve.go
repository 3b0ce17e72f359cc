package dtls

import (
	"context"
	"time"

	"mqttsn-gateway/transports"
)

// Serve hands on the messages that connections receive until ctx is done or the link is
// closed, and returns nil then. Connections stay open until Close, so that farewells can
// be sent, but nothing more is received. It gives up when the link below does.
func (l *Link) Serve(ctx context.Context, recv func(batch []transports.Datagram)) error {
	demux := newDemux(l)
	var failure error
	done := make(chan struct{})
	go func() {
		failure = l.below.Serve(ctx, demux.receive)
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
			<-done
			return nil
		case <-done:
			return failure
		}
	}
}

// maxBatch is how many messages recv gets at once; more would make others wait.
const maxBatch = 64
