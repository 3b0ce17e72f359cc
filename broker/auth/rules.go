package auth

import (
	"strings"

	"mqttsn-gateway/broker/mqtt"
)

// rules are the topics of one user, or of anonymous clients.
type rules struct {
	list []rule
	tree *node // of the list, if that is long
}

// shortList is up to how many rules are tried one by one, which is as fast as the tree and
// costs no memory.
const shortList = 16

func (r *rules) index() {
	if len(r.list) <= shortList {
		return
	}
	r.tree = new(node)
	for _, rule := range r.list {
		r.tree.add(rule)
	}
}

// find joins the accesses of all rules that fit a topic.
func (r *rules) find(topic string) access {
	var found access
	switch {
	case r == nil:
	case r.tree != nil:
		found = r.tree.find(topic)
	default:
		for i := range r.list {
			if mqtt.Match(r.list[i].filter, topic) {
				found |= r.list[i].access
			}
		}
	}
	return found
}

// node is a level of the tree of rules.
type node struct {
	children map[string]*node
	plus     *node
	here     access // of rules that end here
	below    access // of rules that go on with #, which fit this level as well
}

func (n *node) add(r rule) {
	for level := range strings.SplitSeq(r.filter, "/") {
		switch level {
		case "#":
			n.below |= r.access
			return
		case "+":
			if n.plus == nil {
				n.plus = new(node)
			}
			n = n.plus
		default:
			next := n.children[level]
			if next == nil {
				next = new(node)
				if n.children == nil {
					n.children = make(map[string]*node)
				}
				n.children[level] = next
			}
			n = next
		}
	}
	n.here |= r.access
}

// find joins the accesses of all rules that fit a topic. Wildcards at the start fit no topic
// that begins with $ [MQTT-4.7.2-1].
func (n *node) find(topic string) access {
	if topic == "" {
		return 0
	}
	if topic[0] != '$' {
		return n.walk(topic)
	}
	level, rest, more := strings.Cut(topic, "/")
	return n.children[level].step(rest, more)
}

func (n *node) walk(topic string) access {
	level, rest, more := strings.Cut(topic, "/")
	return n.below | n.children[level].step(rest, more) | n.plus.step(rest, more)
}

func (n *node) step(rest string, more bool) access {
	switch {
	case n == nil:
		return 0
	case more:
		return n.walk(rest)
	}
	return n.here | n.below
}

// pattern is a rule with %c and %u in it, which stand for the client id and the user name.
type pattern struct {
	rule
	line         int
	client, user bool   // it has %c, %u
	start        string // what each topic that it fits begins with
}

func newPattern(r rule, line int) pattern {
	p := pattern{rule: r, line: line, client: strings.Contains(r.filter, "%c"), user: strings.Contains(r.filter, "%u")}
	p.start = r.filter
	if i := strings.IndexAny(r.filter, "%+#"); i >= 0 {
		p.start = strings.TrimSuffix(r.filter[:i], "/") // a/# fits a
	}
	return p
}

// applies reports whether the pattern is for a subject.
func (p *pattern) applies(s Subject) bool { return !p.user || s.User != "" }

// fits reports whether the pattern, for a subject that it applies to, fits a topic.
func (p *pattern) fits(s Subject, topic string) bool {
	if !strings.HasPrefix(topic, p.start) {
		return false
	}
	var room [256]byte
	return mqtt.Match(p.expand(room[:0], s), topic)
}

// expand appends the filter that the pattern is for a subject. What is put in is not looked
// at again for %c and %u.
func (p *pattern) expand(b []byte, s Subject) []byte {
	rest := p.filter
	for {
		i := strings.IndexByte(rest, '%')
		if i < 0 || i+1 == len(rest) {
			return append(b, rest...)
		}
		b = append(b, rest[:i]...)
		switch rest[i+1] {
		case 'c':
			b = append(b, s.Client...)
			i += 2
		case 'u':
			b = append(b, s.User...)
			i += 2
		default:
			b = append(b, '%')
			i++
		}
		rest = rest[i:]
	}
}
