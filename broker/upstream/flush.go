package upstream

// Flush sends what requests have gathered: broker.Broker. It waits for nothing: a session
// whose connection is full gets a goroutine until it is not.
func (b *Broker) Flush() {
	b.dirtyMu.Lock()
	dirty := b.dirty
	b.dirty, b.spare = b.spare, nil
	b.dirtyMu.Unlock()
	if len(dirty) == 0 {
		return
	}
	for _, s := range dirty {
		s.mu.Lock()
		s.soiled = false
		l := s.line
		write := l != nil && !l.writer && l.out != nil
		if write {
			l.writer = true
		}
		s.mu.Unlock()
		if write {
			s.write(l)
		}
	}
	clear(dirty)
	b.dirtyMu.Lock()
	if b.spare == nil {
		b.spare = dirty[:0]
	}
	b.dirtyMu.Unlock()
}

func (b *Broker) soil(s *session) {
	b.dirtyMu.Lock()
	b.dirty = append(b.dirty, s)
	b.dirtyMu.Unlock()
}

// settle ends a visit of one of our own goroutines: the gateway works off what it was
// told, and what that led to is sent. No lock is held.
func (b *Broker) settle(told bool) {
	if told {
		b.wake()
	}
	b.Flush()
}
