package embedded

import (
	"sync"
	"time"
)

// deadlines holds the sessions that something is due for, the earliest first: a heap, in
// which a session stands once at most.
type deadlines struct {
	mu   sync.Mutex
	heap []*session
	// earlier is told when there is a new earliest one.
	earlier chan struct{}
}

func newDeadlines() deadlines { return deadlines{earlier: make(chan struct{}, 1)} }

// notFiled is session.filed of one that is not in the heap; others have their position
// plus one there.
const notFiled = 0

// file puts a session in, or changes when it is due.
func (d *deadlines) file(s *session, at time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.filedAt = at
	if s.filed == notFiled {
		d.heap = append(d.heap, s)
		s.filed = int32(len(d.heap))
	}
	d.fix(int(s.filed) - 1)
	if s.filed == 1 {
		select {
		case d.earlier <- struct{}{}:
		default:
		}
	}
}

// remove takes a session out, if it is in.
func (d *deadlines) remove(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.filed == notFiled {
		return
	}
	i, last := int(s.filed)-1, len(d.heap)-1
	s.filed = notFiled
	moved := d.heap[last]
	d.heap[last] = nil
	d.heap = d.heap[:last]
	if i < last {
		d.put(i, moved)
		d.fix(i)
	}
}

// next is when the earliest one is due; ok is false if there is none.
func (d *deadlines) next() (at time.Duration, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.heap) == 0 {
		return 0, false
	}
	return d.heap[0].filedAt, true
}

// dueAt is a session that is due at now, nil for none.
func (d *deadlines) dueAt(now time.Duration) *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.heap) == 0 || d.heap[0].filedAt > now {
		return nil
	}
	return d.heap[0]
}

func (d *deadlines) put(i int, s *session) {
	d.heap[i] = s
	s.filed = int32(i) + 1
}

// fix moves the session at i to where it belongs.
func (d *deadlines) fix(i int) {
	s := d.heap[i]
	for i > 0 {
		parent := (i - 1) / 2
		if d.heap[parent].filedAt <= s.filedAt {
			break
		}
		d.put(i, d.heap[parent])
		i = parent
	}
	for {
		child := 2*i + 1
		if child >= len(d.heap) {
			break
		}
		if right := child + 1; right < len(d.heap) && d.heap[right].filedAt < d.heap[child].filedAt {
			child = right
		}
		if s.filedAt <= d.heap[child].filedAt {
			break
		}
		d.put(i, d.heap[child])
		i = child
	}
	d.put(i, s)
}
