package forward

import (
	"context"
	"errors"
	"net"
)

// maxUnreachable is how often in a row reading may tell that the gateway is unreachable:
// each time answers a datagram that was sent, so many without end are a socket gone mad.
const maxUnreachable = 1000

// largestDatagram is what a read takes, so that no packet of the gateway is cut.
const largestDatagram = 65535

// read hands on what the gateway sends until the socket fails.
func (u *uplink) read(conn net.Conn) error {
	b := make([]byte, largestDatagram)
	for failures := 0; ; {
		n, err := conn.Read(b)
		switch {
		case err == nil:
			failures = 0
			u.receive(b[:n])
		case isUnreachable(err) && failures < maxUnreachable:
			failures++
			u.unreachable(err)
		default:
			return err
		}
	}
}

// write sends what waits in the queue until ctx is done or the socket fails.
func (u *uplink) write(ctx context.Context, conn net.Conn) error {
	var b burst
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-u.queue.wake:
		}
		b = u.queue.take(b)
		for i := range b.ends {
			if err := u.send(conn, b.datagram(i)); err != nil {
				u.counts.dropped[gatewayAway].Add(uint64(len(b.ends) - i))
				return err
			}
		}
	}
}

// send sends one datagram; the error says that the socket is lost, and the datagram with it.
func (u *uplink) send(conn net.Conn, datagram []byte) error {
	for attempt := 0; ; attempt++ {
		_, err := conn.Write(datagram)
		switch {
		case err == nil:
			u.counts.toGateway.Add(1)
			u.health.sent()
			return nil
		case isUnreachable(err):
			// The system may tell so of an earlier datagram in place of sending this one.
			u.unreachable(err)
			if attempt == 0 {
				continue
			}
			u.counts.dropped[sendFailed].Add(1)
			return nil
		case isBusy(err):
			u.counts.dropped[sendFailed].Add(1)
			return nil
		case errors.Is(err, errTooLarge):
			u.counts.dropped[deviceTooLarge].Add(1)
			return nil
		default:
			return err
		}
	}
}

func (u *uplink) unreachable(err error) {
	u.counts.unreachable.Add(1)
	u.health.refused(err)
}
