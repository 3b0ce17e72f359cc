package auth

import "strings"

// maxComparisons is after how many comparisons of filters a lookout gives up, some two
// milliseconds: one packet may have thousands of filters to be looked at.
const maxComparisons = 20_000

// lookout looks for topics that may be received.
type lookout struct {
	budget int
}

// any reports whether filter fits some topic that a rule of allow allows to read, and none of
// denials denies, or the budget has ended before that was known.
func (l *lookout) any(filter string, allow, denials []rule) bool {
	for _, a := range allow {
		if a.access&read == 0 {
			continue
		}
		if l.budget--; l.budget < 0 {
			return true
		}
		if !overlap(filter, a.filter) {
			continue // mostly, and that is the cheaper way to find out
		}
		common, ok := intersection(filter, a.filter)
		if ok && !isShare(common) && !l.denied(common, denials) {
			return true
		}
	}
	return false
}

// denied reports whether one rule denies all topics of a filter.
func (l *lookout) denied(filter string, rules []rule) bool {
	for _, d := range rules {
		if d.access&deny == 0 {
			continue
		}
		if l.budget--; l.budget < 0 {
			return false
		}
		if covers(d.filter, filter) {
			return true
		}
	}
	return false
}

// overlap reports whether there is a topic that both a and b fit, or one more level of them.
func overlap(a, b string) bool {
	for moreA, moreB := true, true; moreA && moreB; {
		if a == "#" || b == "#" {
			return true
		}
		var levelA, levelB string
		levelA, a, moreA = strings.Cut(a, "/")
		levelB, b, moreB = strings.Cut(b, "/")
		if levelA != levelB && levelA != "+" && levelB != "+" {
			return false
		}
	}
	return true
}

// intersection is the filter that fits the topics that both a and b fit. There is always one
// if there is any such topic: where one has +, it has what the other has, and where one ends
// with #, it goes on as the other does, or ends.
func intersection(a, b string) (string, bool) {
	if startsSystem(a) && startsWild(b) || startsSystem(b) && startsWild(a) {
		return "", false // [MQTT-4.7.2-1]
	}
	var common []string
	restA, restB, moreA, moreB := a, b, true, true
	for moreA && moreB {
		if restA == "#" {
			return strings.Join(append(common, restB), "/"), true
		}
		if restB == "#" {
			return strings.Join(append(common, restA), "/"), true
		}
		var levelA, levelB string
		levelA, restA, moreA = strings.Cut(restA, "/")
		levelB, restB, moreB = strings.Cut(restB, "/")
		switch {
		case levelA == "+":
			levelA = levelB
		case levelB != "+" && levelB != levelA:
			return "", false
		}
		common = append(common, levelA)
	}
	// "a/#" fits "a" as well.
	ok := moreA == moreB || moreA && restA == "#" || moreB && restB == "#"
	return strings.Join(common, "/"), ok
}

// covers reports whether filter a fits all topics that filter b fits.
func covers(a, b string) bool {
	if startsSystem(b) && startsWild(a) {
		return false
	}
	restA, restB, moreA, moreB := a, b, true, true
	for moreA && moreB {
		if restA == "#" {
			return true
		}
		if restB == "#" {
			return false
		}
		var levelA, levelB string
		levelA, restA, moreA = strings.Cut(restA, "/")
		levelB, restB, moreB = strings.Cut(restB, "/")
		if levelA != "+" && levelA != levelB {
			return false
		}
	}
	return moreA == moreB || moreA && restA == "#"
}

func startsWild(filter string) bool {
	return strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")
}

func startsSystem(filter string) bool { return strings.HasPrefix(filter, "$") }
