package embedded

import (
	"sync"
	"sync/atomic"
)

// dirty lists the clients that have something to be flushed.
type dirty struct {
	some  atomic.Bool
	mu    sync.Mutex
	list  []*client
	spare []*client // empty, for list to go on with
}

func (d *dirty) add(c *client) {
	d.mu.Lock()
	d.list = append(d.list, c)
	d.some.Store(true)
	d.mu.Unlock()
}

// take returns the list, which is given back when it is done, and starts a new one.
func (d *dirty) take() []*client {
	if !d.some.Load() {
		return nil
	}
	d.mu.Lock()
	list := d.list
	d.list, d.spare = d.spare, nil
	d.some.Store(false)
	d.mu.Unlock()
	return list
}

func (d *dirty) giveBack(list []*client) {
	clear(list)
	d.mu.Lock()
	d.spare = list[:0]
	d.mu.Unlock()
}
