package gateway

import "time"

// deadlines is a heap of the clients of one shard by the instant at which their session
// next needs time. A client is filed under the instant that was known when it was
// filed: a deadline that moves later, as keep alive does with every packet, leaves it
// where it is, and is looked at again when the old instant comes. So a packet costs a
// comparison here and no more.
type deadlines struct {
	heap []*client
}

const notFiled = -1

// file sees to it that c comes up at or before due.
func (d *deadlines) file(c *client, due time.Duration) {
	if c.filed == notFiled {
		c.due, c.filed = due, len(d.heap)
		d.heap = append(d.heap, c)
		d.up(c.filed)
	} else if due < c.due {
		c.due = due
		d.up(c.filed)
	}
}

// next returns the first client that is due at now, taken out of the heap, or nil.
func (d *deadlines) next(now time.Duration) *client {
	if len(d.heap) == 0 || d.heap[0].due > now {
		return nil
	}
	c := d.heap[0]
	d.remove(c)
	return c
}

// earliest is the instant at which next will have something.
func (d *deadlines) earliest() (time.Duration, bool) {
	if len(d.heap) == 0 {
		return 0, false
	}
	return d.heap[0].due, true
}

func (d *deadlines) remove(c *client) {
	i := c.filed
	if i == notFiled {
		return
	}
	last := len(d.heap) - 1
	d.swap(i, last)
	d.heap[last] = nil
	d.heap = d.heap[:last]
	c.filed = notFiled
	if i < last {
		d.down(i)
		d.up(i)
	}
}

func (d *deadlines) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if d.heap[parent].due <= d.heap[i].due {
			return
		}
		d.swap(i, parent)
		i = parent
	}
}

func (d *deadlines) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(d.heap); child++ {
			if d.heap[child].due < d.heap[least].due {
				least = child
			}
		}
		if least == i {
			return
		}
		d.swap(i, least)
		i = least
	}
}

func (d *deadlines) swap(i, j int) {
	d.heap[i], d.heap[j] = d.heap[j], d.heap[i]
	d.heap[i].filed, d.heap[j].filed = i, j
}
