package memory

import (
	"slices"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// Publish publishes a message as some other client of the broker would.
func (b *Broker) Publish(topic string, payload []byte, qos byte, retain bool) {
	b.control(func() {
		b.publish(Publication{Message: broker.Message{Topic: topic, Payload: payload, QoS: qos, Retain: retain}})
	})
}

// Keep makes the broker write into st what travels with requests from now on (Request.With),
// and with it the payload of each QoS 1 and 2 message, as an UpstreamRequest record: so it is
// answered with a mark. What else the broker has is as safe as that of a broker elsewhere: a
// new gateway that shares it finds it.
func (b *Broker) Keep(st store.Store) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.store = st
}

// Hold keeps back the events of these kinds from now on, of all kinds when none is
// named. What was asked is done nevertheless: only the word of it is late.
func (b *Broker) Hold(kinds ...broker.Kind) {
	if len(kinds) == 0 {
		kinds = []broker.Kind{broker.Answered, broker.Delivered, broker.Closed}
	}
	b.control(func() {
		for _, k := range kinds {
			b.holding[k] = true
		}
	})
}

// Step hands on up to n held events, oldest first, and goes on holding.
func (b *Broker) Step(n int) {
	b.control(func() { b.release(n) })
}

// Release hands on all held events and holds no more.
func (b *Broker) Release() {
	b.control(func() {
		clear(b.holding)
		if !b.down {
			b.release(-1)
		}
	})
}

// Held is how many events wait for Step or Release.
func (b *Broker) Held() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, h := range b.held {
		if h.epoch == h.conn.epoch {
			n++
		}
	}
	return n
}

// Refuse answers requests of this kind with code from now on, and does not do what they
// ask. A code that is no failure ends that. A refused QoS 0 Publish is lost.
func (b *Broker) Refuse(op broker.Op, code broker.Code) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if code.Failed() {
		b.refused[op] = code
	} else {
		delete(b.refused, op)
	}
}

// BusyAfter makes Do return ErrBusy once n more requests were taken; a negative n ends
// that. Ack, SetWill, Disconnect and Abandon are always taken and not counted.
func (b *Broker) BusyAfter(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = n
}

// SetUp takes the broker away or brings it back. While it is away, Connect is answered
// with CodeServerUnavailable, a QoS 0 Publish is lost, no other answers come, and
// deliveries wait. Clients stay connected.
func (b *Broker) SetUp(up bool) {
	b.control(func() {
		b.down = !up
		if !up {
			return
		}
		if len(b.holding) == 0 {
			b.release(-1)
		}
		for _, id := range sortedKeys(b.sessions) {
			b.sessions[id].deliver()
		}
	})
}

// Kick ends a client's connection with code: CodeTakenOver as if it had connected
// elsewhere. Its will is not published. It reports whether the client was connected.
func (b *Broker) Kick(clientID string, code broker.Code) (found bool) {
	b.control(func() {
		if s := b.sessions[clientID]; s != nil && s.conn != nil {
			found = true
			s.conn.close(code)
		}
	})
	return found
}

// Forget makes the broker lose a client's stored session, as after a restart without
// persistence. A connected client is kicked with CodeServerUnavailable first.
func (b *Broker) Forget(clientID string) {
	b.Kick(clientID, broker.CodeServerUnavailable)
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sessions, clientID)
}

// Published lists all messages published so far, oldest first.
func (b *Broker) Published() []Publication {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.record)
}

// Asked lists all requests taken so far, oldest first.
func (b *Broker) Asked() []Asked {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asked)
}

// Connected reports whether the client is connected.
func (b *Broker) Connected(clientID string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sessions[clientID]
	return s != nil && s.conn != nil
}

// Subscriptions is the QoS granted by filter, nil if there is no session.
func (b *Broker) Subscriptions(clientID string) map[string]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sessions[clientID]
	if s == nil {
		return nil
	}
	subscribed := make(map[string]byte, len(s.filters))
	for filter, qos := range s.filters {
		subscribed[filter] = qos
	}
	return subscribed
}

// Unacked is how many messages were delivered to the client and not acknowledged,
// Waiting how many more its session holds.
func (b *Broker) Unacked(clientID string) (unacked, waiting int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sessions[clientID]
	if s == nil {
		return 0, 0
	}
	for _, d := range s.queue {
		if d.sent {
			unacked++
		} else {
			waiting++
		}
	}
	return unacked, waiting
}
