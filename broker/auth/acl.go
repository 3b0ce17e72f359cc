package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"mqttsn-gateway/broker/mqtt"
)

// Bounds of an acl_file.
const (
	maxRules    = 1_000_000
	maxPatterns = 10_000 // each is tried with each message
	maxLevels   = 200    // Mosquitto's bound of slashes
)

// access is what a rule says of the topics that it fits.
type access uint8

const (
	read access = 1 << iota
	write
	deny
)

// rule is a line that gives or takes a right.
type rule struct {
	filter string
	access access
}

// words are the kinds of access as they stand in an acl_file.
var words = map[string]access{"read": read, "write": write, "readwrite": read | write, "deny": deny}

const allowedLines = "allowed are user NAME, topic [read|write|readwrite|deny] TOPIC, pattern [read|write|readwrite|deny] TOPIC, and # at the start of a comment"

// parseACL reads the text of an acl_file as Mosquitto does: topics before the first user are
// for anonymous clients, those after it for that user, and patterns for everybody; words are
// parted by spaces, and the last one may have spaces in it; a # begins a comment only where
// the line begins. Its errors begin with the line.
func parseACL(text string) (*table, error) {
	t := &table{users: make(map[string]*rules)}
	user, number, count := "", 0, 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, blanks)
		word, rest := cutWord(line)
		if word == "" || line[0] == '#' {
			continue
		}
		if count++; count > maxRules {
			return nil, fmt.Errorf("%d: there are more than %d lines with rules", number, maxRules)
		}
		var err error
		switch word {
		case "user":
			user, err = parseUser(rest)
		case "topic":
			var r rule
			if r, err = parseRule(rest); err == nil {
				t.add(user, r)
			}
		case "pattern":
			var r rule
			if r, err = parseRule(rest); err == nil {
				err = t.addPattern(r, number)
			}
		default:
			err = fmt.Errorf("%q is not known: %s", shorten(word), allowedLines)
		}
		if err != nil {
			return nil, fmt.Errorf("%d: %w", number, err)
		}
	}
	t.finish()
	return t, nil
}

// cutWord parts the first word from the others. Mosquitto knows no tabs here.
func cutWord(s string) (word, rest string) {
	word, rest, _ = strings.Cut(strings.TrimLeft(s, " "), " ")
	return word, rest
}

func parseUser(rest string) (string, error) {
	user := strings.Trim(rest, blanks)
	switch {
	case user == "":
		return "", errors.New("the user name is missing: allowed is user NAME")
	case len(user) > maxUser:
		return "", fmt.Errorf("the user name is longer than %d octets", maxUser)
	case strings.ContainsFunc(user, unicode.IsControl):
		return "", fmt.Errorf("user name %q has a control character in it", shorten(user))
	}
	return user, nil
}

// parseRule reads what comes after topic or pattern. A single word is a topic, even if it is
// one of those that stand for an access, as Mosquitto has it.
func parseRule(rest string) (rule, error) {
	word, more := cutWord(rest)
	r := rule{filter: strings.Trim(more, blanks), access: read | write}
	if r.filter == "" {
		r.filter = word
	} else if a, ok := words[word]; ok {
		r.access = a
	} else {
		return r, fmt.Errorf("access %q is not known: allowed are read, write, readwrite and deny, which a topic with spaces needs", shorten(word))
	}
	switch {
	case r.filter == "":
		return r, errors.New("the topic is missing: allowed is topic [read|write|readwrite|deny] TOPIC")
	case strings.ContainsFunc(r.filter, unicode.IsControl):
		return r, fmt.Errorf("topic %q has a control character in it; words are parted by spaces, not tabs", shorten(r.filter))
	case strings.Count(r.filter, "/") > maxLevels:
		return r, fmt.Errorf("topic %q has more than %d slashes", shorten(r.filter), maxLevels)
	case !strings.HasPrefix(r.filter, "$share/") && !mqtt.ValidTopicFilter(r.filter):
		return r, fmt.Errorf("topic %q is no topic filter: + must be a whole level, and # a whole last one", shorten(r.filter))
	}
	return r, nil
}

// shorten keeps messages readable.
func shorten(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// table is what an acl_file says. It does not change once it is finished.
type table struct {
	anonymous rules
	users     map[string]*rules
	patterns  []pattern // those that deny come first
}

func (t *table) add(user string, r rule) {
	list := &t.anonymous
	if user != "" {
		if list = t.users[user]; list == nil {
			list = new(rules)
			t.users[user] = list
		}
	}
	list.list = append(list.list, r)
}

func (t *table) addPattern(r rule, line int) error {
	if len(t.patterns) == maxPatterns {
		return fmt.Errorf("there are more than %d patterns", maxPatterns)
	}
	t.patterns = append(t.patterns, newPattern(r, line))
	return nil
}

func (t *table) finish() {
	slices.SortStableFunc(t.patterns, func(a, b pattern) int { return int(b.access&deny) - int(a.access&deny) })
	t.anonymous.index()
	for _, list := range t.users {
		list.index()
	}
}

// of are the rules that are for a user alone; nil if there are none.
func (t *table) of(user string) *rules {
	if user == "" {
		return &t.anonymous
	}
	return t.users[user]
}

// namesUsers reports whether the rights of some depend on their user name.
func (t *table) namesUsers() bool {
	return len(t.users) > 0 || slices.ContainsFunc(t.patterns, func(p pattern) bool { return p.user })
}

// plainPatterns are the lines of the first few patterns that are no patterns.
func (t *table) plainPatterns() []int {
	const most = 10
	var lines []int
	for _, p := range t.patterns {
		if !p.user && !p.client && len(lines) < most {
			lines = append(lines, p.line)
		}
	}
	return lines
}
