package mqtt

import "unicode/utf8"

// text is what topics come as: strings in a broker's tree, octets in a packet.
type text interface{ string | []byte }

// ValidTopicName reports whether s may be published to: 1 to 65,535 octets of well-formed
// UTF-8 without U+0000 and without wildcards [MQTT-4.7.3-1] to [MQTT-4.7.3-3].
func ValidTopicName[S text](s S) bool {
	return validTopic(s) && !hasWildcard(s)
}

// ValidTopicFilter reports whether s may be subscribed to: as a topic name, but with "+"
// as a whole level and "#" as the whole last level [MQTT-4.7.1-1] [MQTT-4.7.1-2]. A
// filter that starts with "$share/" must have a share name and a filter after it
// [MQTT-4.8.2-1] [MQTT-4.8.2-2]; for a connection before MQTT 5, which has no shared
// subscriptions, such a filter is an ordinary one, and it is up to the caller to say so.
func ValidTopicFilter[S text](s S) bool {
	return validTopic(s) && wellFormedFilter(s) && validShared(s)
}

func validTopic[S text](s S) bool {
	if len(s) == 0 || len(s) > 0xFFFF {
		return false
	}
	for i := range len(s) {
		if s[i] == 0 {
			return false
		}
		if s[i] >= utf8.RuneSelf {
			return validString([]byte(s[i:]))
		}
	}
	return true
}

func hasWildcard[S text](s S) bool {
	for i := range len(s) {
		if c := s[i]; c == '+' || c == '#' {
			return true
		}
	}
	return false
}

// wellFormedFilter judges the places of the wildcards.
func wellFormedFilter[S text](s S) bool {
	for i := range len(s) {
		switch s[i] {
		case '+':
			if i > 0 && s[i-1] != '/' || i+1 < len(s) && s[i+1] != '/' {
				return false
			}
		case '#':
			if i > 0 && s[i-1] != '/' || i+1 < len(s) {
				return false
			}
		}
	}
	return true
}

const sharePrefix = "$share/"

func hasSharePrefix[S text](s S) bool {
	return len(s) >= len(sharePrefix) && string(s[:len(sharePrefix)]) == sharePrefix
}

// validShared reports whether s is no shared subscription, or a well-formed one.
func validShared[S text](s S) bool {
	if !hasSharePrefix(s) {
		return true
	}
	_, _, ok := Shared(s)
	return ok
}

// Shared splits the filter of a shared subscription, "$share/name/filter", into share
// name and filter. ok is false if it is none, or not a valid one.
func Shared[S text](s S) (name, filter S, ok bool) {
	if !hasSharePrefix(s) {
		return name, filter, false
	}
	rest := s[len(sharePrefix):]
	for i := range len(rest) {
		switch rest[i] {
		case '+', '#':
			return name, filter, false
		case '/':
			name, filter = rest[:i], rest[i+1:]
			return name, filter, i > 0 && len(filter) > 0
		}
	}
	return name, filter, false
}

// Match reports whether a topic name is one of those that a valid filter stands for
// [MQTT 5, 4.7]. A wildcard at the start of the filter stands for no level that starts
// with "$" [MQTT-4.7.2-1]. The filter is one without "$share/name/": see Shared.
func Match[F, T text](filter F, topic T) bool {
	if len(filter) == 0 || len(topic) == 0 {
		return false
	}
	if topic[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	f, t := 0, 0
	for f < len(filter) {
		switch filter[f] {
		case '#':
			return true
		case '+':
			f++
			for t < len(topic) && topic[t] != '/' {
				t++
			}
		default:
			if t == len(topic) {
				// "sport/#" also stands for "sport" itself [MQTT 5, 4.7.1.2].
				return filter[f] == '/' && f+2 == len(filter) && filter[f+1] == '#'
			}
			if filter[f] != topic[t] {
				return false
			}
			f++
			t++
		}
	}
	return t == len(topic)
}
