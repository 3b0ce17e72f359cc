package embedded

import (
	"container/list"
	"sync"
	"time"

	"mqttsn-gateway/broker"
)

// incoming is what clients have sent of large packets that are not complete. It is bounded
// for all of them together: if there is too much, the packet that was begun first is given
// up, and its client's connection. Whoever means it sends a packet in one go.
type incoming struct {
	mu    sync.Mutex
	begun list.List // *client, the first one first
	bytes int
}

// hold notes that the client's reader takes n octets for a large packet, 0 when it is
// handled: mqtt.Reader.
func (c *client) hold(n int) {
	b := c.broker
	var late []*client
	in := &b.incoming
	in.mu.Lock()
	switch {
	case n == 0:
		in.forget(c)
	case c.over.Load(): // it is about to go
	default:
		if c.begun == nil {
			c.begun = in.begun.PushBack(c)
		}
		in.bytes += n - c.incoming
		c.incoming = n
		for limit := b.options.MaxIncomingBytesTotal; limit > 0 && in.bytes > limit; {
			first := in.begun.Front().Value.(*client)
			if first == c {
				break
			}
			in.forget(first)
			late = append(late, first)
		}
	}
	in.mu.Unlock()
	for _, c := range late {
		b.limited.meet(incomingLimit, remote(c.socket))
		c.fail(broker.CodeQuota, "packet", "has not come to its end: max_incoming_bytes_total is reached")
	}
	if late == nil {
		return
	}
	b.Flush()
	for _, c := range late { // their readers let go of what they hold
		c.late.Store(true)
		_ = c.socket.SetReadDeadline(time.Now())
	}
}

// forget takes a client off the list. The caller holds in.mu.
func (in *incoming) forget(c *client) {
	if c.begun != nil {
		in.begun.Remove(c.begun)
		in.bytes -= c.incoming
		c.begun, c.incoming = nil, 0
	}
}

func (in *incoming) stats() (bytes int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.bytes
}
