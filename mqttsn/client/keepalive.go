package client

import (
	"fmt"

	"mqttsn-gateway/mqttsn"
)

// startPingLocked arms the timer for the next PINGREQ of the keep alive. It is due when
// three quarters of the keep alive are over, which leaves time for a repetition.
func (c *Client) startPingLocked() {
	c.pings = 0
	if c.keepAlive > 0 && c.state == Active && !c.o.NoPing {
		c.ping.Reset(c.keepAlive * 3 / 4)
	}
}

// keepAlivePing runs when the timer fires: it sends a PINGREQ, or repeats it, or gives
// the gateway up [SN-6.11, SN-6.13].
func (c *Client) keepAlivePing() {
	c.mu.Lock()
	if c.state != Active {
		c.mu.Unlock()
		return
	}
	c.pings++
	pings := c.pings
	c.ping.Reset(min(c.o.Tretry, c.keepAlive/4))
	c.mu.Unlock()
	if pings > c.o.Nretry+1 {
		c.lose(fmt.Errorf("%v: %w (sent %d times)", mqttsn.TypePingreq, ErrNoAnswer, pings-1), false)
		return
	}
	respond(c, mqttsn.Pingreq{})
}
