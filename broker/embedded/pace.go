package embedded

import (
	"context"
	"net"
	"time"

	"mqttsn-gateway/broker/mqtt"
)

// pace is called after a connection was let in, and waits until the next one may be. They
// wait in the system's queue: when all clients come back at once, each gets in, and those
// that are in are served meanwhile.
func (b *Broker) pace(ctx context.Context, last net.Conn) {
	rate := b.options.ConnectRate
	if rate == 0 {
		return
	}
	l := &b.clients
	l.mu.Lock()
	wait := l.rate.take(b.now(), 1, rate, 2*rate)
	l.mu.Unlock()
	if wait == 0 {
		return
	}
	b.limited.meet(connectRateLimit, remote(last))
	pauseFor(wait, ctx.Done())
}

// keepPace stops reading from a client that sends more packets than it may, for as long
// as they are too many. Its connection fills up, and so it has to wait: nothing is lost,
// and its keep alive does not end meanwhile. To disconnect it (message rate too high, MQTT
// 5 only) would have it come back at once and send again what was not acknowledged.
func (c *client) keepPace() {
	rate := c.broker.options.MaxPacketRate
	if rate == 0 {
		return
	}
	wait := c.bucket.take(c.broker.now(), c.paced, rate, rate)
	c.paced = 0
	if wait == 0 {
		return
	}
	c.broker.limited.meet(packetRateLimit, remote(c.socket))
	pauseFor(wait, c.ended)
}

// isPaced reports whether packets of that type count. Acknowledgements do not: how many
// there are is not up to the client.
func isPaced(t mqtt.Type) bool {
	switch t {
	case mqtt.TypePuback, mqtt.TypePubrec, mqtt.TypePubrel, mqtt.TypePubcomp:
		return false
	}
	return true
}

// pauseFor waits for so long, or until done is closed.
func pauseFor(d time.Duration, done <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-done:
	}
}
