package auth

import (
	"strings"

	"mqttsn-gateway/broker/mqtt"
)

// Rights are what one Subject may do, now and after each Reload. Nil Rights are those to do
// everything. The methods may be called from any goroutine, and are fast enough to be called
// for each message.
//
// They are Mosquitto's: of the topics for the subject's user, or for anonymous clients, those
// that deny count first, then those that allow; then in the same way patterns. What is not
// allowed is denied. Patterns allow nothing to a subject with + or # in its client id or user
// name, which could reach the topics of others by them (CVE-2017-7650).
type Rights struct {
	guard   *Guard
	subject Subject
	// noPatterns: no pattern is for the subject, since it has a wildcard in a name, or no
	// client id.
	noPatterns bool
}

// Rights returns what s may do: nil if g is nil or has no acl_file to ask, and never will.
func (g *Guard) Rights(s Subject) *Rights {
	if g == nil || g.options.ACLFile == "" {
		return nil
	}
	const wildcards = "+#"
	return &Rights{
		guard:      g,
		subject:    s,
		noPatterns: s.Client == "" || strings.ContainsAny(s.Client, wildcards) || strings.ContainsAny(s.User, wildcards),
	}
}

// MayPublish reports whether the subject may publish to a topic.
func (r *Rights) MayPublish(topic string) bool {
	if r == nil {
		return true
	}
	if strings.HasPrefix(topic, "$SYS") && !mqtt.Match("$SYS/broker/connection/+/state", topic) || isShare(topic) {
		return false
	}
	return r.may(topic, write)
}

// MayReceive reports whether the subject may be sent a message of a topic.
func (r *Rights) MayReceive(topic string) bool {
	return r == nil || !isShare(topic) && r.may(topic, read)
}

// isShare reports whether Mosquitto has topics that begin so for shared subscriptions alone.
func isShare(topic string) bool { return strings.HasPrefix(topic, "$share") }

func (r *Rights) may(topic string, want access) bool {
	t := r.guard.now.Load().rules
	switch found := t.of(r.subject.User).find(topic); {
	case found&deny != 0:
		return false
	case found&want != 0:
		return true
	case r.noPatterns:
		return false
	}
	for i := range t.patterns { // those that deny come first
		p := &t.patterns[i]
		if p.access&(want|deny) != 0 && p.applies(r.subject) && p.fits(r.subject, topic) {
			return p.access&deny == 0
		}
	}
	return false
}

// MaySubscribe reports whether there is any topic that filter fits and the subject may be
// sent messages of. The filter of a shared subscription may come with its "$share/NAME/". It
// is exact but for topics that several rules deny together, and for subjects with thousands of
// rules: in doubt it is allowed, since each message is asked for by MayReceive anyway.
func (r *Rights) MaySubscribe(filter string) bool {
	if r == nil {
		return true
	}
	if _, shared, ok := mqtt.Shared(filter); ok {
		filter = shared
	}
	t := r.guard.now.Load().rules
	l := lookout{budget: maxComparisons}
	var own []rule
	if rules := t.of(r.subject.User); rules != nil {
		own = rules.list
	}
	if l.any(filter, own, own) {
		return true
	}
	if r.noPatterns {
		return false
	}
	var patterns []rule
	for i := range t.patterns {
		if l.budget--; l.budget < 0 {
			return true
		}
		if p := &t.patterns[i]; p.applies(r.subject) {
			patterns = append(patterns, rule{string(p.expand(nil, r.subject)), p.access})
		}
	}
	return len(patterns) > 0 && l.any(filter, patterns, append(patterns, own...))
}
