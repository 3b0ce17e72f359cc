package embedded

// backlog holds the retained messages that a connected client is still to get for its
// new subscriptions. They are sent as fast as the client takes them, however many there
// are: unlike others they do not come faster than that.
type backlog struct {
	items []retainedItem // from head on
	head  int
}

type retainedItem struct {
	message *message
	rare    *rare // for its subscription identifier; nil for none
	qos     byte
}

func (i retainedItem) delivery() delivery {
	return delivery{message: i.message, rare: i.rare, qos: i.qos, retain: true}
}

// addBacklog notes a retained message to be sent. The caller holds s.mu.
func (s *session) addBacklog(item retainedItem) {
	if s.backlog == nil {
		s.backlog = new(backlog)
	}
	b := s.backlog
	if len(b.items)-b.head >= s.broker.options.MaxRetainedMessages+sysTopics {
		// The client subscribes again and again and does not read.
		s.broker.stats.drop(slowClient)
		return
	}
	b.items = append(b.items, item)
}

// sendBacklog sends or queues the next retained message. It reports false if there was
// no room for it. The caller holds s.mu.
func (s *session) sendBacklog(t *tally) bool {
	b := s.backlog
	item := b.items[b.head]
	m := item.message
	switch {
	case m.expires != 0 && m.expires <= s.broker.now():
		s.broker.stats.drop(expired)
	case !s.broker.retained.current(m):
		// It has been replaced, and the client got or gets the new one.
	case item.qos > 0:
		s.enqueue(item.delivery(), t) // there is room: all that was queued is in flight
	default:
		p := newPublication()
		p.carry(m)
		why := s.line.pass(p, true, item.rare)
		t.sentBytes += p.tally.sentBytes
		p.release()
		if why == slowClient {
			return false
		}
		if why != noReason {
			s.broker.stats.drop(why)
		} else {
			t.sent[0]++
		}
	}
	b.items[b.head] = retainedItem{}
	if b.head++; b.head == len(b.items) {
		s.backlog = nil
	}
	return true
}

// dropBacklog is for when the client goes: its session keeps what fits into its queue.
// The caller holds s.mu.
func (s *session) dropBacklog() {
	if s.backlog == nil {
		return
	}
	var t tally
	for _, item := range s.backlog.items[s.backlog.head:] {
		if item.qos == 0 {
			s.broker.stats.drop(clientAway)
		} else if !s.full(item.message) {
			s.enqueue(item.delivery(), &t)
		}
	}
	s.broker.stats.add(&t)
	s.backlog = nil
}
