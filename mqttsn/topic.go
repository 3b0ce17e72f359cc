package mqttsn

import (
	"bytes"
	"unicode/utf8"
)

// maxString is the size in octets of the longest string that MQTT can carry.
const maxString = 65535

// ValidUTF8 reports whether b may stand for an MQTT string: UTF-8 without NUL and at
// most 65535 octets. It may be empty. Control characters and non-characters are no good
// either: MQTT lets a receiver close the connection over them [MQTT-1.5.4], Mosquitto
// does, and a datagram must not cost anyone a connection.
func ValidUTF8(b []byte) bool {
	if len(b) > maxString {
		return false
	}
	for len(b) > 0 {
		if c := b[0]; ' ' <= c && c < utf8.RuneSelf-1 {
			b = b[1:]
			continue
		}
		r, size := utf8.DecodeRune(b)
		if size == 1 || disallowed(r) { // of one octet there are only controls and faults left
			return false
		}
		b = b[size:]
	}
	return true
}

// disallowed reports whether r, from U+0080 on, is one of the code points that MQTT
// advises against.
func disallowed(r rune) bool {
	return r <= 0x9F || 0xFDD0 <= r && r <= 0xFDEF || r&0xFFFE == 0xFFFE
}

// ValidTopicName reports whether b may be published to: 1 to 65535 octets of UTF-8
// without NUL, '+' and '#'.
func ValidTopicName(b []byte) bool {
	return len(b) > 0 && ValidUTF8(b) && !hasWildcard(b)
}

// ValidTopicFilter reports whether b may be subscribed to: 1 to 65535 octets of UTF-8
// without NUL, '+' only as a whole level, '#' only as the whole last level. A shared
// subscription, "$share/group/filter", needs a group without wildcards and a filter.
func ValidTopicFilter(b []byte) bool {
	if len(b) == 0 || !ValidUTF8(b) {
		return false
	}
	if rest, shared := bytes.CutPrefix(b, []byte("$share/")); shared {
		group, filter, found := bytes.Cut(rest, []byte{'/'})
		if !found || len(group) == 0 || hasWildcard(group) || len(filter) == 0 {
			return false
		}
		b = filter
	}
	for more := true; more; {
		var level []byte
		level, b, more = bytes.Cut(b, []byte{'/'})
		switch {
		case !hasWildcard(level):
		case len(level) > 1:
			return false
		case level[0] == '#' && more:
			return false
		}
	}
	return true
}

// hasWildcard reports whether a wildcard stands anywhere in b.
func hasWildcard(b []byte) bool {
	return bytes.IndexByte(b, '+') >= 0 || bytes.IndexByte(b, '#') >= 0
}

// ShortTopic is the TopicID that stands for a short topic; ok is false if the name is
// not 2 octets long [SN-6.7].
func ShortTopic(name string) (id uint16, ok bool) {
	if len(name) != 2 {
		return 0, false
	}
	return uint16(name[0])<<8 | uint16(name[1]), true
}

// ShortTopicName is the name of the short topic in a TopicID.
func ShortTopicName(id uint16) [2]byte {
	return [2]byte{byte(id >> 8), byte(id)}
}
