package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"hash/maphash"
	"runtime"
	"sync/atomic"
	"time"
)

// Why Authenticate refuses. The first three are one and the same to whom is refused.
var (
	ErrAnonymous   = errors.New("no user name is given, and anonymous clients are not allowed")
	ErrUnknownUser = errors.New("there is no such user")
	ErrPassword    = errors.New("the password is wrong")
	// ErrBusy means that so many passwords are being checked that this one was not.
	ErrBusy = errors.New("too many passwords are being checked: try again")
)

// Authenticate reports whether an MQTT client that gives a user name and a password is let
// in; user "" is none given. It takes the time that hashing takes, milliseconds as a rule, and
// may wait for its turn up to 5 s, so it is for the goroutine of the client that connects. An
// empty password is never right, nor one with a NUL, which no password_file can hold. Without a password_file nothing is checked: then a user name
// proves nothing, and whoever gives one is let in as anonymous clients are.
func (g *Guard) Authenticate(user string, password []byte) error {
	if g == nil {
		return nil
	}
	p := g.now.Load().passwords
	if user == "" || p == nil {
		if !g.Anonymous() {
			return ErrAnonymous
		}
		return nil
	}
	if len(password) == 0 || bytes.IndexByte(password, 0) >= 0 {
		return ErrPassword
	}
	return p.check(user, password, g.hashing)
}

// passwords is what a password_file says.
type passwords struct {
	byUser map[string]*entry
	all    []*entry // in the order of the file
	seed   maphash.Seed
	key    [32]byte // of the marks, which are worth nothing without it
}

// entry is a user.
type entry struct {
	user string
	hash hash
	// mark is made of the password that was right the last time, so that a client that comes
	// back is let in without hashing: a storm of reconnections costs next to nothing. This is
	// safe since the mark stays in memory, where passwords of CONNECTs are as well, ends with
	// the next Reload, and is made only of the right password: guesses always cost a hash.
	mark atomic.Pointer[[sha256.Size]byte]
}

func newPasswords() *passwords {
	p := &passwords{byUser: make(map[string]*entry), seed: maphash.MakeSeed()}
	_, _ = rand.Read(p.key[:]) // never fails
	return p
}

// check compares in constant time, and spends on a user that does not exist what it would on
// one of those that do, so that time does not tell who does.
func (p *passwords) check(user string, password []byte, t *turns) error {
	e := p.byUser[user]
	if e == nil {
		if len(p.all) > 0 {
			standIn := p.all[maphash.String(p.seed, user)%uint64(len(p.all))]
			p.matches(standIn, password) // as for a user that exists
			if !t.begin() {
				return ErrBusy
			}
			standIn.hash.fits(password)
			t.end()
		}
		return ErrUnknownUser
	}
	if p.matches(e, password) {
		return nil
	}
	if !t.begin() {
		return ErrBusy
	}
	right := e.hash.fits(password)
	t.end()
	if !right {
		return ErrPassword
	}
	e.mark.Store(p.markOf(e, password))
	return nil
}

// matches reports whether it is the password that was right the last time.
func (p *passwords) matches(e *entry, password []byte) bool {
	mark := p.markOf(e, password)
	last := e.mark.Load()
	return last != nil && subtle.ConstantTimeCompare(mark[:], last[:]) == 1
}

func (p *passwords) markOf(e *entry, password []byte) *[sha256.Size]byte {
	m := hmac.New(sha256.New, p.key[:])
	m.Write(e.hash.salt)
	m.Write([]byte(e.user))
	m.Write([]byte{0})
	m.Write(password)
	return (*[sha256.Size]byte)(m.Sum(nil))
}

// How many may wait to hash a password, and for how long.
const (
	maxWaiting = 1000
	maxWait    = 5 * time.Second
)

// turns bound how many passwords are hashed at a time: half of the processors are left for
// everything else, whoever knocks.
type turns struct {
	running chan struct{}
	waiting atomic.Int32
}

func newTurns() *turns {
	return &turns{running: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// begin waits for a turn, and reports whether it has come.
func (t *turns) begin() bool {
	select {
	case t.running <- struct{}{}:
		return true
	default:
	}
	defer t.waiting.Add(-1)
	if t.waiting.Add(1) > maxWaiting {
		return false
	}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case t.running <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

func (t *turns) end() { <-t.running }
