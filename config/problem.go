package config

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Key is the option, such as "session.t_retry"; empty when there is none to blame.
	Key string
	// Where says where it was set: "gateway.yaml:12", "environment variable
	// MQTTSN_SESSION_T_RETRY", "--set", "--udp", "default".
	Where string
	// What says what is wrong and what is allowed.
	What string
}

func (p Problem) String() string {
	if p.Key == "" {
		return p.Where + ": " + p.What
	}
	return p.Where + ": " + p.Key + ": " + p.What
}

// Error is a configuration that cannot be used, with everything that is wrong with it.
type Error struct {
	Problems []Problem
}

// Error is one line per problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// problems gathers what is wrong, so that a user learns all of it at once.
type problems []Problem

func (ps *problems) add(key, where, format string, args ...any) {
	*ps = append(*ps, Problem{Key: key, Where: where, What: fmt.Sprintf(format, args...)})
}

func (ps problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return &Error{Problems: ps}
}
