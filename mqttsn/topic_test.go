package mqttsn

import (
	"strings"
	"testing"
)

func TestTopicRules(t *testing.T) {
	long := strings.Repeat("x", 65535)
	for _, c := range []struct {
		in                   string
		utf8, name, isFilter bool
	}{
		{"", true, false, false},
		{"a", true, true, true},
		{"a/b", true, true, true},
		{"/", true, true, true},
		{"//", true, true, true},
		{"$SYS/x", true, true, true},
		{"é/ö", true, true, true},
		{"\U0001F600", true, true, true},
		{"a b", true, true, true},
		{"a\x00b", false, false, false},
		{"\xff", false, false, false},
		{"\xed\xa0\x80", false, false, false}, // a surrogate
		{"\xc0\x80", false, false, false},     // an overlong NUL
		{long, true, true, true},
		{long + "x", false, false, false},
		{"+", true, false, true},
		{"#", true, false, true},
		{"/#", true, false, true},
		{"+/", true, false, true},
		{"/+", true, false, true},
		{"a/+/b", true, false, true},
		{"a/+/#", true, false, true},
		{"+/+/+", true, false, true},
		{"a+", true, false, false},
		{"a#", true, false, false},
		{"+a", true, false, false},
		{"#/a", true, false, false},
		{"a/#/b", true, false, false},
		{"a/b#", true, false, false},
		{"a/++/b", true, false, false},
		{"##", true, false, false},
		{"$share/g/a/#", true, false, true},
		{"$share/g/+", true, false, true},
		{"$share/g//", true, true, true},
		{"$share/g/", true, true, false},
		{"$share/g", true, true, false},
		{"$share//a", true, true, false},
		{"$share/+/a", true, false, false},
		{"$share/g#/a", true, false, false},
		{"$share/g/a#", true, false, false},
		{"$share", true, true, true},
		{"$shared/x", true, true, true},
	} {
		in := []byte(c.in)
		if got := ValidUTF8(in); got != c.utf8 {
			t.Errorf("ValidUTF8(%.40q) = %v", c.in, got)
		}
		if got := ValidTopicName(in); got != c.name {
			t.Errorf("ValidTopicName(%.40q) = %v", c.in, got)
		}
		if got := ValidTopicFilter(in); got != c.isFilter {
			t.Errorf("ValidTopicFilter(%.40q) = %v", c.in, got)
		}
	}
}

func TestShortTopic(t *testing.T) {
	for name, want := range map[string]uint16{"ab": 0x6162, "é": 0xC3A9, "/#": 0x2F23} {
		id, ok := ShortTopic(name)
		if !ok || id != want {
			t.Errorf("ShortTopic(%q) = %04X, %v", name, id, ok)
		}
		if back := ShortTopicName(id); string(back[:]) != name {
			t.Errorf("ShortTopicName(%04X) = %q", id, back)
		}
	}
	for _, name := range []string{"", "a", "abc"} {
		if _, ok := ShortTopic(name); ok {
			t.Errorf("%q is a short topic", name)
		}
	}
}

func TestCodePoints(t *testing.T) {
	for _, s := range []string{"", "a", " ", "~", "é", "\u00a0", "日本", "\U0001F600", "a/b c", "\ufdcf", "\ufdf0", "\ufffd"} {
		if !ValidUTF8([]byte(s)) {
			t.Errorf("%q is refused", s)
		}
	}
	for _, s := range []string{
		"\x00", "a\x00", "\x01A", "\x1f", "\x7f", "\u0080", "\u009f", "\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff",
		"\xc3\x28", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "a\xc3", strings.Repeat("a", 65536),
	} {
		if ValidUTF8([]byte(s)) {
			t.Errorf("%q is accepted", s)
		}
	}
}
