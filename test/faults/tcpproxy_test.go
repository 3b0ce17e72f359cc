package faults

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// cable is a TCP proxy in front of a broker that can be slow, carry nothing, or be cut.
type cable struct {
	addr, to string
	listener net.Listener

	mu    sync.Mutex
	moved *sync.Cond // told when the way changes
	way   way
	delay time.Duration
	conns map[net.Conn]bool
	done  bool
}

// way is what a cable does with octets.
type way int

const (
	straight way = iota
	slow         // each piece is delayed
	hole         // nothing gets through, and nobody is told
	cut          // connections end, and new ones are not accepted for long
)

func newCable(t testing.TB, to string) *cable {
	t.Helper()
	c := &cable{to: to, conns: map[net.Conn]bool{}}
	c.moved = sync.NewCond(&c.mu)
	var err error
	if c.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	c.addr = c.listener.Addr().String()
	go c.serve()
	t.Cleanup(c.close)
	return c
}

func (c *cable) close() {
	_ = c.listener.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = true
	c.end()
	c.moved.Broadcast()
}

// end ends all connections.
func (c *cable) end() {
	for conn := range c.conns {
		_ = conn.Close()
	}
	clear(c.conns)
}

// set changes what the cable does, also with connections that are there. What a hole has
// swallowed goes on its way when it ends, as after an outage that TCP has survived.
func (c *cable) set(w way, delay time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.way, c.delay = w, delay
	if w == cut {
		c.end()
	}
	c.moved.Broadcast()
}

func (c *cable) serve() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		c.mu.Lock()
		if c.way == cut || c.done {
			_, _ = near.Close(), far.Close()
			c.mu.Unlock()
			continue
		}
		c.conns[near], c.conns[far] = true, true
		c.mu.Unlock()
		go c.carry(near, far)
		go c.carry(far, near)
	}
}

func (c *cable) carry(from, to net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && c.pass() {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			if err != io.EOF {
				return
			}
			c.pass() // nor does the end get through a hole
			return
		}
	}
}

// pass waits until octets may go on; false if they never will.
func (c *cable) pass() bool {
	c.mu.Lock()
	for c.way == hole && !c.done {
		c.moved.Wait()
	}
	delay := c.delay
	if c.way != slow {
		delay = 0
	}
	done := c.done
	c.mu.Unlock()
	if delay > 0 {
		pass(delay)
	}
	return !done
}
