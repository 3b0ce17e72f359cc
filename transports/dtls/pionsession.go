package dtls

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
)

// A client that comes again may take up its last session (RFC 5246, 7.3): one round trip
// less, and no key exchange. Sessions are of all links, so that it may come to any.
//
// The library stores none of clients that have shown a certificate: whether that is still
// good would have to be looked at again (CVE-2016-5419). Nor are connection ids part of an
// abbreviated handshake of the library's, so a client that wants one gets a full handshake:
// its connection outlives its address, which is worth more.

// sessions are those that clients may take up, the newest last; nil keeps none.
type sessions struct {
	limit int
	life  time.Duration

	mu    sync.Mutex // guards what follows
	order *list.List // of *session
	byID  map[string]*list.Element
}

type session struct {
	library dtls.Session
	made    time.Time
}

func newSessions(limit int, life time.Duration) *sessions {
	if limit == 0 {
		return nil
	}
	return &sessions{limit: limit, life: life, order: list.New(), byID: map[string]*list.Element{}}
}

func (s *sessions) put(id string, library dtls.Session, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(s.byID[id])
	s.byID[id] = s.order.PushBack(&session{library, now})
	for oldest := s.order.Front(); s.order.Len() > s.limit || s.expired(oldest, now); oldest = s.order.Front() {
		s.drop(oldest)
	}
}

// get returns the session with that id, which remains; ok is false if there is none.
func (s *sessions) get(id string, now time.Time) (library dtls.Session, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[id]
	if e == nil || s.expired(e, now) {
		return dtls.Session{}, false
	}
	return e.Value.(*session).library, true
}

func (s *sessions) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(s.byID[id])
}

// keep drops the sessions of all identities with a pre-shared key but those that have one
// still.
func (s *sessions) keep(has func(identity string) bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.order.Front(); e != nil; {
		next := e.Next()
		if l := e.Value.(*session).library; usesKey(l) && !has(string(l.IdentityHint)) {
			s.drop(e)
		}
		e = next
	}
}

func (s *sessions) len() int {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order.Len()
}

func (s *sessions) expired(e *list.Element, now time.Time) bool {
	return now.Sub(e.Value.(*session).made) >= s.life
}

func (s *sessions) drop(e *list.Element) {
	if e != nil {
		delete(s.byID, string(e.Value.(*session).library.ID))
		s.order.Remove(e)
	}
}

// usesKey says that a session comes of a handshake with a pre-shared key.
func usesKey(s dtls.Session) bool { return s.PSKHash != [sha256.Size]byte{} }

// resumption is what the library knows of sessions in one handshake. One goroutine at a time
// uses it.
type resumption struct {
	all *sessions
	// keys are those of an identity now.
	keys func(identity []byte) (pair, bool)

	key        []byte // of the session that the library is looking at
	taken, new bool   // the library has got a session; it has made one
}

// Get is for the library. It gets no session whose key is not the identity's any more, nor
// one of an identity that is not there any more.
func (r *resumption) Get(id []byte) (dtls.Session, error) {
	s, ok := r.all.get(string(id), time.Now())
	if !ok {
		return dtls.Session{}, nil
	}
	if usesKey(s) {
		found, known := r.keys(s.IdentityHint)
		for _, key := range found {
			if known && key != nil && sha256.Sum256(key) == s.PSKHash {
				r.key = key
			}
		}
		if r.key == nil {
			r.all.remove(string(id))
			return dtls.Session{}, nil
		}
	}
	r.taken = true
	return s, nil
}

// Set is for the library.
func (r *resumption) Set(id []byte, s dtls.Session) error {
	r.new = true
	r.all.put(string(id), s, time.Now())
	return nil
}

// Del is for the library, which has seen the session go wrong.
func (r *resumption) Del(id []byte) error {
	r.all.remove(string(id))
	return nil
}

// takeKey is the key that the library asks for to see whether it is that of the session; nil
// if it asks for another reason.
func (r *resumption) takeKey() []byte {
	if r == nil {
		return nil
	}
	key := r.key
	r.key = nil
	return key
}

// resumed says that the handshake, which has succeeded, was an abbreviated one.
func (r *resumption) resumed() bool { return r != nil && r.taken && !r.new }
