package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mqttsn-gateway/mqttsn"
)

// exchange is one request that waits for its answer, with what its packets are encoded
// from, so that asking allocates nothing once the client is warm.
type exchange struct {
	request mqttsn.Type
	id      uint16 // MsgId; 0 for the packets without one
	topic   string // the name that the answer gives an id to
	becomes State  // after the DISCONNECT that answers ours
	inbox   chan answer
	timer   *time.Timer
	// collecting is set while a wake-up collects messages, and counts them. Then every
	// packet restarts Tretry [SN-6.14].
	collecting bool
	collected  int

	publish   mqttsn.Publish
	subscribe mqttsn.Subscribe
}

// answer is what the reader found in a packet that answers an exchange, or why none
// will come.
type answer struct {
	packet  mqttsn.Type
	code    mqttsn.ReturnCode
	topicID uint16
	qos     mqttsn.QoS
	gateway Gateway
	err     error
}

// post hands an answer over. If several wait already, one more makes no difference.
func (x *exchange) post(a answer) {
	select {
	case x.inbox <- a:
	default:
	}
}

// acquire takes a token. The caller gives it back by reading from tokens.
func (c *Client) acquire(ctx context.Context, tokens chan struct{}) error {
	select {
	case tokens <- struct{}{}:
		return nil
	default:
	}
	select {
	case tokens <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.done:
		return c.closedError()
	}
}

func (c *Client) closedError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// begin makes an exchange with a MsgId of its own.
func (c *Client) begin(request mqttsn.Type, topic string) (*exchange, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return nil, c.err
	case c.state == Disconnected:
		return nil, ErrNotConnected
	}
	x := c.takeLocked()
	for {
		c.msgID++
		if _, busy := c.exchanges[c.msgID]; !busy && c.msgID != 0 {
			break
		}
	}
	x.request, x.id, x.topic = request, c.msgID, topic
	c.exchanges[x.id] = x
	return x, nil
}

// beginControl makes the exchange of a packet without a MsgId. The caller has the
// control token, so there is no other.
func (c *Client) beginControl(request mqttsn.Type) (*exchange, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return nil, c.err
	case c.state == Disconnected && request != mqttsn.TypeConnect && request != mqttsn.TypeSearchGW:
		return nil, ErrNotConnected
	}
	c.asking = c.takeLocked()
	c.asking.request = request
	return c.asking, nil
}

func (c *Client) takeLocked() *exchange {
	if n := len(c.free); n > 0 {
		x := c.free[n-1]
		c.free = c.free[:n-1]
		return x
	}
	x := &exchange{inbox: make(chan answer, 4), timer: time.NewTimer(time.Hour)}
	x.timer.Stop()
	return x
}

// end takes the exchange back.
func (c *Client) end(x *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asking == x {
		c.asking = nil
	} else {
		delete(c.exchanges, x.id)
	}
	x.timer.Stop()
	for len(x.inbox) > 0 {
		<-x.inbox
	}
	*x = exchange{inbox: x.inbox, timer: x.timer}
	c.free = append(c.free, x)
}

// ask sends a packet until one of the wanted packets answers it: at once, and Nretry
// times more after Tretry each [SN-6.13]. Only PUBLISH and SUBSCRIBE have a DUP flag to
// mark the repetitions with [SN-5.4.12, SN-5.4.15].
func (c *Client) ask(ctx context.Context, x *exchange, p mqttsn.Packet, wanted ...mqttsn.Type) (answer, error) {
	timeout := c.o.Tretry
	for sent := 0; ; {
		if err := send(c, p); err != nil {
			return answer{}, fmt.Errorf("%v: %w", p.Type(), err)
		}
		sent++
		x.timer.Reset(timeout)
		a, alive, err := c.await(ctx, x, wanted)
		if !errors.Is(err, errTimeout) {
			return a, err
		}
		if alive {
			sent = 0
		}
		if sent > c.o.Nretry {
			return answer{}, fmt.Errorf("%v: %w (sent %d times)", p.Type(), ErrNoAnswer, sent)
		}
		switch p := p.(type) {
		case *mqttsn.Publish:
			p.DUP = true
		case *mqttsn.Subscribe:
			p.DUP = true
		case *mqttsn.SearchGW:
			timeout *= 2 // the gaps grow exponentially [SN-6.1]
		}
	}
}

var errTimeout = errors.New("timeout")

// await waits for one of the wanted packets until the exchange's timer fires. alive
// reports that the gateway has sent something else meanwhile.
func (c *Client) await(ctx context.Context, x *exchange, wanted []mqttsn.Type) (_ answer, alive bool, _ error) {
	for {
		select {
		case a := <-x.inbox:
			switch {
			case a.err != nil:
				return answer{}, alive, a.err
			case slices.Contains(wanted, a.packet):
				return a, alive, nil
			case x.collecting:
				alive = true
				x.timer.Reset(c.o.Tretry)
			}
		case <-x.timer.C:
			return answer{}, alive, errTimeout
		case <-ctx.Done():
			return answer{}, alive, context.Cause(ctx)
		}
	}
}
