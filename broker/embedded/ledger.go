package embedded

import (
	"sync"

	"mqttsn-gateway/gateway/store"
)

// ledger is what a session has besides if there is a store. All but inbound is under the
// session's lock.
type ledger struct {
	durable bool       // the store has the session
	mark    store.Mark // where all is durable that was applied for it

	// inbound is held by who passes on a QoS 2 message of an MQTT client's, from when its
	// identifier is noted until it is applied, and by who releases one: a client that has
	// come back meanwhile is not answered before. It comes before all other locks.
	inbound sync.Mutex
}

// isDurable reports whether the session survives a crash. The caller holds s.mu.
func (s *session) isDurable() bool { return s.ledger != nil && s.ledger.durable }

// mark is where all is durable that was applied for the session. The caller holds s.mu.
func (s *session) mark() store.Mark {
	if s.ledger == nil {
		return 0
	}
	return s.ledger.mark
}

// reached notes that something was applied for the session. The caller holds s.mu.
func (s *session) reached(mark store.Mark) {
	if s.ledger != nil {
		s.ledger.mark = max(s.ledger.mark, mark)
	}
}
