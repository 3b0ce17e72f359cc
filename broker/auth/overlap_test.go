package auth

import (
	"fmt"
	"strings"
	"testing"

	"mqttsn-gateway/broker/mqtt"
)

// What is said of filters is what their topics say, one by one.
func TestFiltersByTheirTopics(t *testing.T) {
	var filters []string
	for _, f := range topics([]string{"", "a", "+", "$s"}, 3) {
		filters = append(filters, f, f+"/#")
	}
	filters = append(filters[2:], "#") // the first is empty
	all := topics([]string{"", "a", "b", "$s"}, 4)[1:]
	fits := make(map[string][]bool)
	topicsOf := func(filter string) []bool {
		if fits[filter] == nil {
			for _, topic := range all {
				fits[filter] = append(fits[filter], mqtt.Match(filter, topic))
			}
		}
		return fits[filter]
	}
	for _, a := range filters {
		for _, b := range filters {
			common, ok := intersection(a, b)
			if ok && !mqtt.ValidTopicFilter(common) {
				t.Fatalf("%q and %q: %q", a, b, common)
			}
			inA, inB, inCommon := topicsOf(a), topicsOf(b), topicsOf(common)
			covered, some := true, false
			for i, topic := range all {
				if both := inA[i] && inB[i]; both != (ok && inCommon[i]) {
					t.Fatalf("%q and %q have %q %t in common: %q", a, b, common, ok, topic)
				}
				covered = covered && (inA[i] || !inB[i])
				some = some || inB[i]
			}
			// "+/#" and "#" fit the same topics but those that no filter tells apart.
			if covers(a, b) && !covered {
				t.Fatalf("%q does not cover %q", a, b)
			}
			if covered && some && !covers(a, b) && a != "+/#" {
				t.Fatalf("%q covers %q", a, b)
			}
		}
	}
}

// However long the rules are, asking is quick; what is not known then counts as allowed.
func TestSubscribeIsBounded(t *testing.T) {
	var lines []string
	for i := range 20_000 {
		lines = append(lines, fmt.Sprintf("topic read a/%d", i), fmt.Sprintf("topic deny a/%d", i))
	}
	table, err := parseACL(strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	l := lookout{budget: maxComparisons}
	if list := table.anonymous.list; !l.any("a/+", list, list) || l.budget >= 0 {
		t.Errorf("the budget is %d", l.budget)
	}
	if r := rightsBy(table, Subject{}); r.MaySubscribe("b/+") || !r.MaySubscribe("a/+") || r.MayReceive("a/19999") {
		t.Error("wrong answer")
	}
}

// A filter that thousands of rules have to be compared with, in vain.
func BenchmarkMaySubscribe(b *testing.B) {
	for _, kind := range []string{"topic read big/%d/x\n", "pattern read big/%d/%%c\n"} {
		var acl strings.Builder
		for i := range 9000 {
			fmt.Fprintf(&acl, kind, i)
		}
		table, err := parseACL(acl.String())
		if err != nil {
			b.Fatal(err)
		}
		r := rightsBy(table, Subject{Client: "c"})
		b.Run(kind[:5], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r.MaySubscribe("+/nope") {
					b.Fatal("it is allowed")
				}
			}
		})
	}
}
