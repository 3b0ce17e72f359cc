package embedded

// What options make of messages on their way to a client.

// outgoing is the QoS of a message for a subscription [MQTT-3.8.4-8].
func (b *Broker) outgoing(published, granted byte) byte {
	if b.options.UpgradeOutgoingQoS {
		return granted
	}
	return min(published, granted)
}

// open reports whether another message may be in flight: the client's window and
// max_inflight_bytes allow it. The caller holds s.mu.
func (s *session) open() bool {
	limit := s.broker.options.MaxInflightBytes
	return int(s.queue.sent) < int(s.window) && (limit == 0 || s.queue.aloft < limit)
}

// isQueued reports whether a message that is sent with that QoS goes by the queue: with
// QoS 0 if it is to, and the client is away or would get it before what waits for it. The
// caller holds s.mu.
func (s *session) isQueued(qos byte) bool {
	return qos > 0 || s.broker.options.QueueQoS0Messages && (s.line == nil || s.queue.len() > int(s.queue.sent))
}

// passQueued hands over the QoS 0 message that is the next one in the queue. It reports
// false if there was no room for it. The caller holds s.mu.
func (s *session) passQueued(t *tally) bool {
	i := int(s.queue.sent)
	d := s.queue.at(i)
	switch why := s.passKept(d, t); why {
	case slowClient, clientAway:
		return false
	case noReason:
		s.remove(i, t)
		t.sent[0]++
	default:
		s.drop(i, why, false, t)
	}
	return true
}

// passKept hands over a message of the broker's with QoS 0, and reports why it could not.
// The caller holds s.mu.
func (s *session) passKept(d *delivery, t *tally) reason {
	p := newPublication()
	defer p.release()
	p.carry(d.message)
	why := s.line.pass(p, d.retain, d.rare)
	t.sentBytes += p.tally.sentBytes
	return why
}
