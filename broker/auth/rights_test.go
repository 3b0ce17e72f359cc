package auth

import (
	"fmt"
	"strings"
	"testing"
)

// verdict is what a subject may do with a topic: "rw", "r", "w" or "-".
func verdict(r *Rights, topic string) string {
	v := ""
	if r.MayReceive(topic) {
		v += "r"
	}
	if r.MayPublish(topic) {
		v += "w"
	}
	if v == "" {
		v = "-"
	}
	return v
}

func TestRights(t *testing.T) {
	g := withACL(t,
		"# for all without a name",
		"topic read news/#",
		"topic deny news/secret/+",
		"topic  write   in box",
		"",
		"user alice",
		"topic alice/#",
		"topic read $SYS/#",
		"topic deny alice/locked",
		"user bob smith ",
		"topic #",
		"user alice",
		"topic write later",
		"pattern read dev/%c/in",
		"pattern write dev/%c/%u/out",
		"pattern deny dev/%c/locked/#",
		"pattern dev/%c/#",
		"pattern deny later",
	)
	for _, c := range []struct{ client, user, topic, want string }{
		{"c", "", "news", "r"},
		{"c", "", "news/a/b", "r"},
		{"c", "", "news/secret/a", "-"},
		{"c", "", "news/secret", "r"},
		{"c", "", "in box", "w"},
		{"c", "", "alice/x", "-"},
		{"c", "alice", "news", "-"}, // general topics are for anonymous clients only
		{"c", "alice", "alice", "rw"},
		{"c", "alice", "alice/locked", "-"},
		{"c", "alice", "later", "w"}, // a user's own topics come before patterns that deny
		{"c", "alice", "$SYS/broker/uptime", "r"},
		{"c", "bob smith", "a", "rw"},
		{"c", "bob smith", "$other", "-"}, // # fits no $
		{"c", "bob smith", "$share/g/t", "-"},
		{"c", "bob", "a", "-"},
		{"c", "", "dev/c/in", "rw"},
		{"c", "", "dev/d/in", "-"},
		{"c", "", "dev/c/locked", "-"},
		{"c", "x", "dev/c/x/out", "rw"},
		{"c/d", "", "dev/c/d/x", "rw"}, // as in Mosquitto, a slash is no wildcard
		{"+", "", "dev/c/in", "-"},
		{"+", "", "dev/+/in", "-"},
		{"#", "", "dev/c/in", "-"},
		{"c", "+", "dev/c/in", "-"},
		{"c", "+", "news", "-"},
		{"+", "", "news", "r"}, // topics do not depend on the client id
		{"", "", "news", "r"},
		{"", "", "dev//in", "-"},
		{"%u", "x", "dev/x/in", "-"},
		{"%u", "x", "dev/%u/in", "rw"},
		{"c", "", "", "-"},
	} {
		r := g.Rights(Subject{Client: c.client, User: c.user})
		if got := verdict(r, c.topic); got != c.want {
			t.Errorf("client %q, user %q, topic %q: %s, want %s", c.client, c.user, c.topic, got, c.want)
		}
	}
}

// CVE-2018-12550
func TestEmptyFileDenies(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing", " \n\t\n"} {
		r := withACL(t, text).Rights(Subject{Client: "c", User: "u"})
		if verdict(r, "a") != "-" || r.MaySubscribe("#") {
			t.Errorf("%q allows something", text)
		}
	}
}

func TestMaySubscribe(t *testing.T) {
	g := withACL(t,
		"topic read a/+/c",
		"topic write w/#",
		"topic deny a/x/c",
		"topic read d/#",
		"topic deny d/#",
		"topic read e/#",
		"topic deny e/+",
		"topic $priv/#",
		"pattern p/%c/#",
		"pattern deny p/+/no",
	)
	for filter, want := range map[string]bool{
		"a/b/c": true, "a/+/+": true, "#": true, "+/+/c": true, "a/b/c/#": true,
		"a/x/c": false, "a/x/#": false, "a": false, "a/b": false, "a/b/c/d": false, "b/#": false,
		"w/#": false, "w": false,
		"d": false, "d/#": false, "d/x/y": false,
		"e": true, "e/f": false, "e/+": false, "e/f/g": true, "e/#": true, "+": true,
		"$priv": true, "$priv/x": true, "$SYS/#": false,
		"p/c": true, "p/d": false, "p/+": true, "p/c/no": false, "p/+/no": false, "p/d/#": false,
		"$share/g/a/b/c": true, "$share/g/b": false, "$share/g/+/b/c": true, "$share/g/+/b": false,
	} {
		if got := g.Rights(Subject{Client: "c"}).MaySubscribe(filter); got != want {
			t.Errorf("%q: %t", filter, got)
		}
	}
	if !withACL(t, "topic read a", "topic read b").Rights(Subject{}).MaySubscribe("b") {
		t.Error("without a client id topics do not count")
	}
}

// Long lists are kept as a tree, which must say what the list says; and whether a filter may
// be subscribed to agrees with the topics that may be received.
func TestTreeAndFilters(t *testing.T) {
	var lines []string
	levels := []string{"", "a", "b", "+", "$s"}
	for _, x := range levels {
		for _, y := range levels {
			lines = append(lines, "topic read "+x+"/"+y, "topic deny "+y+"/"+x+"/b", "topic write "+x+"/b/"+y+"/#")
		}
	}
	lines = append(lines, "topic read b/#")
	table, err := parseACL(strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	tree := &table.anonymous
	if tree.tree == nil {
		t.Fatal("no tree")
	}
	list := &rules{list: tree.list}
	topics := topics([]string{"", "a", "b", "c", "$s"}, 4)
	for _, topic := range topics {
		if a, b := tree.find(topic), list.find(topic); a != b {
			t.Errorf("%q: tree %b, list %b", topic, a, b)
		}
	}
	r := withACL(t, lines...).Rights(Subject{Client: "c"})
	for _, filter := range topics {
		if r.MayReceive(filter) != r.MaySubscribe(filter) && filter != "" {
			t.Errorf("%q: may receive %t", filter, r.MayReceive(filter))
		}
	}
}

// topics are all topics of up to n of some levels.
func topics(levels []string, n int) []string {
	all := append([]string(nil), levels...)
	last := all
	for range n - 1 {
		var next []string
		for _, t := range last {
			for _, l := range levels {
				next = append(next, t+"/"+l)
			}
		}
		all, last = append(all, next...), next
	}
	return all
}

func TestNoAllocation(t *testing.T) {
	for _, g := range []*Guard{nil, thousand(t), withACL(t, "pattern a/%c/%u/#", "pattern deny x/%c")} {
		r := g.Rights(Subject{Client: "client-1234", User: "u"})
		if n := testing.AllocsPerRun(100, func() {
			r.MayPublish("a/client-1234/u/temperature")
			r.MayReceive("site/17/sensor/99")
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func thousand(t testing.TB) *Guard {
	lines := []string{"user u"}
	for i := range 1000 {
		lines = append(lines, fmt.Sprintf("topic readwrite site/%d/+/%d", i/10, i))
	}
	return withACL(t, lines...)
}

func BenchmarkMayPublish(b *testing.B) {
	patterns := []string{}
	for i := range 1000 {
		patterns = append(patterns, fmt.Sprintf("pattern write site/%d/%%c", i))
	}
	for name, g := range map[string]*Guard{
		"none":          nil,
		"5_rules":       withACL(b, "user u", "topic a", "topic b", "topic c/#", "topic d/+", "topic site/+/x/+"),
		"1000_rules":    thousand(b),
		"1_pattern":     withACL(b, "pattern write site/99/%c/999"),
		"1000_patterns": withACL(b, patterns...),
		"no_rule":       withACL(b, "user u"),
	} {
		b.Run(name, func(b *testing.B) {
			r := g.Rights(Subject{Client: "x", User: "u"})
			b.ReportAllocs()
			for b.Loop() {
				r.MayPublish("site/99/x/999")
			}
		})
	}
}
