package auth

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"mqttsn-gateway/gateway/secret"
)

// Guard is what the files of the options say. A nil Guard lets everybody do everything. Its
// methods may be called from any goroutine.
type Guard struct {
	options Options
	log     *slog.Logger
	hashing *turns

	reloading sync.Mutex
	now       atomic.Pointer[state]
}

// state is what the files said when they were last read. It does not change.
type state struct {
	generation uint64
	passwords  *passwords // nil: no password_file
	rules      *table     // nil: no acl_file
}

// Subject is who asks.
type Subject struct {
	Client string // client id; "" if there is none, as with QoS -1, and no pattern applies then
	User   string // user name; "" is an anonymous client
}

// New reads the files of o. It returns nil, which lets everybody do everything, if o has no
// file and does not keep anonymous clients out. Its errors begin with the key of the option,
// and name file and line. What is doubtful in the files is said to log, here and at each
// Reload.
func New(o Options, log *slog.Logger) (*Guard, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.PasswordFile == "" && o.ACLFile == "" && o.anonymous() {
		return nil, nil
	}
	g := &Guard{options: o, log: log, hashing: newTurns()}
	if err := g.Reload(); err != nil {
		return nil, err
	}
	return g, nil
}

// Reload reads the files again. Rights that were handed out follow what it finds at once. If
// a file cannot be read or has a mistake, nothing changes, and the error says where.
func (g *Guard) Reload() error {
	if g == nil {
		return nil
	}
	g.reloading.Lock()
	defer g.reloading.Unlock()
	next := &state{generation: g.Generation() + 1}
	if name := g.options.PasswordFile; name != "" {
		text, err := secret.Read(name)
		if err != nil {
			return fmt.Errorf("password_file: %w", err)
		}
		if next.passwords, err = parsePasswords(string(text)); err != nil {
			return fmt.Errorf("password_file: %s:%w", name, err)
		}
	}
	if name := g.options.ACLFile; name != "" {
		text, err := secret.ReadPublic(name)
		if err != nil {
			return fmt.Errorf("acl_file: %w", err)
		}
		if next.rules, err = parseACL(string(text)); err != nil {
			return fmt.Errorf("acl_file: %s:%w", name, err)
		}
	}
	g.doubts(next)
	g.now.Store(next)
	return nil
}

// doubts says what is allowed, and yet may not be meant.
func (g *Guard) doubts(s *state) {
	if s.rules == nil {
		return
	}
	if s.passwords == nil && s.rules.namesUsers() {
		g.log.Warn("acl_file has rights for users, but there is no auth.password_file: MQTT clients may call themselves by any name", "file", g.options.ACLFile)
	}
	for _, line := range s.rules.plainPatterns() {
		g.log.Warn("a pattern has neither %c nor %u: it is for everybody", "file", g.options.ACLFile, "line", line)
	}
}

// Generation counts the times that the files have been read, 0 for a nil Guard. After it has
// changed, what was allowed before may not be any more.
func (g *Guard) Generation() uint64 {
	if g == nil {
		return 0
	}
	if s := g.now.Load(); s != nil {
		return s.generation
	}
	return 0
}

// Files lists the files that Reload reads.
func (g *Guard) Files() []string {
	var names []string
	if g == nil {
		return names
	}
	for _, name := range []string{g.options.PasswordFile, g.options.ACLFile} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// Anonymous reports whether MQTT clients that give no user name are let in.
func (g *Guard) Anonymous() bool { return g == nil || g.options.anonymous() }

// Known reports whether a user that was let in before would still be known: after a Reload
// the connections of those who are not have to end. It does not look at passwords.
func (g *Guard) Known(user string) bool {
	switch {
	case g == nil:
		return true
	case user == "":
		return g.Anonymous()
	}
	p := g.now.Load().passwords
	return p == nil && g.Anonymous() || p != nil && p.byUser[user] != nil
}
