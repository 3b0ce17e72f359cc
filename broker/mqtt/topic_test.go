package mqtt

import (
	"fmt"
	"strings"
	"testing"
)

func TestValidTopic(t *testing.T) {
	long := strings.Repeat("x", 65535)
	for _, c := range []struct {
		topic        string
		name, filter bool
	}{
		{"", false, false},
		{"a", true, true},
		{"/", true, true},
		{"//a//", true, true},
		{" ", true, true},
		{"Accounts payable", true, true},
		{"käse/ü", true, true},
		{"$SYS/broker", true, true},
		{long, true, true},
		{long + "x", false, false},
		{"a\x00b", false, false},
		{"ü\x00", false, false},
		{"\xff", false, false},
		{"a/\xed\xa0\x80", false, false},
		{"\ufeff", true, true},
		{"#", false, true},
		{"+", false, true},
		{"/#", false, true},
		{"a/#", false, true},
		{"+/+", false, true},
		{"/+", false, true},
		{"+/a/#", false, true},
		{"a/+/b", false, true},
		{"a#", false, false},
		{"a/#/b", false, false},
		{"#/", false, false},
		{"##", false, false},
		{"a+", false, false},
		{"+a", false, false},
		{"a/b+/c", false, false},
		{"++", false, false},
		{"+#", false, false},
		{"$share", true, true},
		{"$sharex/a", true, true},
		{"$share/", true, false},
		{"$share/g", true, false},
		{"$share//a", true, false},
		{"$share/g/", true, false},
		{"$share/g/a", true, true},
		{"$share/g/#", false, true},
		{"$share/g//", true, true},
		{"$share/+/a", false, false},
		{"$share/g+/a", false, false},
		{"$share/#", false, false},
		{"$share/ü/a", true, true},
	} {
		if got := ValidTopicName(c.topic); got != c.name {
			t.Errorf("ValidTopicName(%.20q) = %v", c.topic, got)
		}
		if got := ValidTopicFilter(c.topic); got != c.filter {
			t.Errorf("ValidTopicFilter(%.20q) = %v", c.topic, got)
		}
		if ValidTopicName([]byte(c.topic)) != c.name || ValidTopicFilter([]byte(c.topic)) != c.filter {
			t.Errorf("%.20q is judged otherwise as octets", c.topic)
		}
	}
}

func TestShared(t *testing.T) {
	for s, want := range map[string]string{
		"$share/g/a":      "g a true",
		"$share/g/a/b/#":  "g a/b/# true",
		"$share/g//finan": "g /finan true",
		"$share/g":        "  false",
		"a/b":             "  false",
		"$share/g+/a":     "  false",
	} {
		name, filter, ok := Shared(s)
		if got := fmt.Sprint(name, " ", filter, " ", ok); got != want {
			t.Errorf("Shared(%q) = %s, want %s", s, got, want)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		// The examples of section 4.7 of the specification.
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true},
		{"#", "a/b", true},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+", "/finance", false},
		{"#", "$SYS/a", false},
		{"+/monitor/Clients", "$SYS/monitor/Clients", false},
		{"$SYS/#", "$SYS/a", true},
		{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"ACCOUNTS", "Accounts", false},

		{"a", "a", true},
		{"a", "ab", false},
		{"ab", "a", false},
		{"a/b", "a", false},
		{"a", "a/b", false},
		{"a/", "a", false},
		{"a//b", "a//b", true},
		{"a/+/b", "a//b", true},
		{"a/+/b", "a/x/y/b", false},
		{"+/#", "a", true},
		{"+/b/#", "a/b", true},
		{"+/b/#", "a", false},
		{"/#", "/", true},
		{"/#", "a", false},
		{"+", "a", true},
		{"+/+", "a", false},
		{"+/+/", "a/b", false},
		{"a/$b/#", "a/$b", true},
		{"+/$b", "a/$b", true},
		{"a/#", "ab", false},
		{"a/+", "a/b/", false},
		{"", "a", false},
		{"a", "", false},
		{"#", "", false},
	} {
		if got := Match(c.filter, c.topic); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.filter, c.topic, got)
		}
		if got := Match([]byte(c.filter), c.topic); got != c.want {
			t.Errorf("Match(%q, %q) = %v with octets", c.filter, c.topic, got)
		}
	}
}

// matchLevels is Match written by levels, as the specification tells it.
func matchLevels(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i, level := range f {
		if level == "#" {
			return len(t) >= i
		}
		if i >= len(t) || level != "+" && level != t[i] {
			return false
		}
	}
	return len(f) == len(t)
}
