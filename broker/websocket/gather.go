package websocket

import (
	"net"
	"sync"
)

// gather is the connection below, to which the library writes a long message in pieces of a
// few kilobytes each: they are put together, so that a message is one write.
type gather struct {
	net.Conn
	mu      sync.Mutex
	holding bool
	held    *[]byte
}

// pieces is what the library writes at once, in octets: shorter messages are one write as it
// is.
const pieces = 4 << 10

// longest is the largest buffer that is kept for others, in octets.
const longest = 64 << 10

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// Write writes, or holds back.
func (g *gather) Write(p []byte) (int, error) {
	g.mu.Lock()
	if !g.holding {
		g.mu.Unlock()
		return g.Conn.Write(p)
	}
	defer g.mu.Unlock()
	*g.held = append(*g.held, p...)
	return len(p), nil
}

// hold has what is written from now on, answers to pings too, wait for release.
func (g *gather) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding, g.held = true, buffers.Get().(*[]byte)
}

// release writes what was held back. What is written meanwhile waits, and comes after it.
func (g *gather) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, err := g.Conn.Write(*g.held)
	if cap(*g.held) <= longest {
		*g.held = (*g.held)[:0]
		buffers.Put(g.held)
	}
	g.holding, g.held = false, nil
	return err
}
