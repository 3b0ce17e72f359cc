package upstream

import (
	"sync"
	"time"

	"mqttsn-gateway/broker"
)

// maxShunned bounds the clients that are remembered. One costs some 150 octets.
const maxShunned = 10000

// shunned are the clients that the broker has refused for good, as for a wrong password, and
// who may not try again at once: the broker has told them all that it has to say. It is about
// these clients alone.
type shunned struct {
	mu      sync.Mutex
	clients map[string]shun // by client id at the broker
}

type shun struct {
	code  broker.Code
	pause time.Duration
	until time.Time
}

// permanent reports whether a refusal is about who the client is.
func permanent(code broker.Code) bool {
	const clientID, badCredentials, banned, badMethod = 0x85, 0x86, 0x8A, 0x8C
	switch code {
	case clientID, badCredentials, broker.CodeNotAuthorized, banned, badMethod:
		return true
	}
	return false
}

// note is told of a refusal. The pause is doubled each time, from first up to longest.
func (s *shunned) note(client string, code broker.Code, first, longest time.Duration) {
	if !permanent(code) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients == nil {
		s.clients = make(map[string]shun)
	}
	before, known := s.clients[client]
	if !known && len(s.clients) >= maxShunned {
		for other := range s.clients { // any one
			delete(s.clients, other)
			break
		}
	}
	pause := min(max(first, 2*before.pause), longest)
	s.clients[client] = shun{code: code, pause: pause, until: time.Now().Add(pause)}
}

// refuses reports whether a client has to wait, and with which code it was refused.
func (s *shunned) refuses(client string) (broker.Code, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, known := s.clients[client]
	return c.code, known && time.Now().Before(c.until)
}

// forgive forgets what was held against a client.
func (s *shunned) forgive(client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, client)
}

func (s *shunned) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = nil
}
