package auth

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzPasswords: a file that is accepted has a user for each of its lines, and is accepted
// with one more; what is made of plain passwords is accepted as well.
func FuzzPasswords(f *testing.F) {
	f.Add("")
	f.Add("# comment\n\nalice:" + newHash([]byte("p"), 1).String() + "\n")
	f.Add("bob smith:" + newHash([]byte("p"), 0).String() + "\r\nx")
	f.Add("alice:wonderland\nbob:$6$x\n")
	f.Add(golden(f, "passwords"))
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePasswords(text)
		if err == nil {
			if len(p.all) != len(p.byUser) || len(p.all) > strings.Count(text, ":") {
				t.Fatalf("%d and %d users", len(p.all), len(p.byUser))
			}
			for _, e := range p.all {
				if again, err := parseHash(e.hash.String()); err != nil || !bytes.Equal(again.salt, e.hash.salt) || again.sum != e.hash.sum || again.iterations != e.hash.iterations {
					t.Fatalf("%v: %v", e.hash, err)
				}
			}
			more, err := SetPassword(text, "one more", []byte("p"), Hashing{})
			if err != nil {
				t.Fatal(err)
			}
			q, err := parsePasswords(more)
			if err != nil || q.byUser["one more"] == nil || len(q.all) > len(p.all)+1 {
				t.Fatalf("%q: %v", more, err)
			}
		}
		if hashed, _, err := HashPlain(text, Hashing{}); err == nil {
			if _, err := parsePasswords(hashed); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzACL: the table says the same as the rules of its text one by one, a file that is written
// anew gives the same rights, and who may receive a topic may subscribe to it.
func FuzzACL(f *testing.F) {
	for _, acl := range []string{
		"topic #", "user alice\ntopic read a b/+\ntopic deny a b/c\npattern %c/%u/#", "pattern deny $x/%%c\npattern x%cy%",
		"topic\ta", "topic read", strings.Repeat("topic +/a/#\ntopic deny a/+/b\ntopic read b/c\n", 7), golden(f, "acl"),
	} {
		f.Add(acl, "a/b/c", "c1", "alice")
		f.Add(acl, "$x/c1", "$x", "")
	}
	f.Fuzz(func(t *testing.T, acl, topic, client, user string) {
		table, err := parseACL(acl)
		if err != nil {
			return
		}
		again, err := parseACL(format(table))
		if err != nil {
			t.Fatalf("%v in\n%s", err, format(table))
		}
		if got, want := table.of(user).find(topic), flat(table.of(user)).find(topic); got != want {
			t.Fatalf("tree %b, list %b", got, want)
		}
		s := Subject{Client: client, User: user}
		one, two := rightsBy(table, s), rightsBy(again, s)
		if one.MayPublish(topic) != two.MayPublish(topic) || one.MayReceive(topic) != two.MayReceive(topic) {
			t.Fatalf("%+v, %q: another answer with\n%s", s, topic, format(table))
		}
		if one.MayReceive(topic) && !strings.ContainsAny(topic, "+#") && (!one.MaySubscribe(topic) || !strings.HasPrefix(topic, "$") && !one.MaySubscribe("#")) {
			t.Fatalf("%+v may receive %q, and not subscribe to it", s, topic)
		}
	})
}

func flat(r *rules) *rules {
	if r == nil {
		return nil
	}
	return &rules{list: r.list}
}

func rightsBy(t *table, s Subject) *Rights {
	g := &Guard{options: Options{ACLFile: "x"}}
	g.now.Store(&state{rules: t})
	return g.Rights(s)
}

// format is an acl_file that says what a table says.
func format(t *table) string {
	var b strings.Builder
	line := func(kind string, r rule) {
		for word, a := range words {
			if a == r.access {
				b.WriteString(kind + " " + word + " " + r.filter + "\n")
			}
		}
	}
	for _, p := range t.patterns {
		line("pattern", p.rule)
	}
	for _, r := range t.anonymous.list {
		line("topic", r)
	}
	for user, list := range t.users {
		b.WriteString("user " + user + "\n")
		for _, r := range list.list {
			line("topic", r)
		}
	}
	return b.String()
}

// golden is a file of testdata.
func golden(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The golden files are of mosquitto_passwd 2.0.11, with the password "open sesame", and made of
// the examples in mosquitto.conf(5).
func TestGolden(t *testing.T) {
	passwords, acl := golden(t, "passwords"), golden(t, "acl")
	g := newGuard(t, files{passwords: &passwords, acl: &acl})
	for _, user := range []string{"alice", "bob smith", "carol"} {
		if err := g.Authenticate(user, []byte("open sesame")); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
	for _, c := range []struct{ client, user, topic, want string }{
		{"c", "", "$SYS/broker/uptime", "r"},
		{"c", "roger", "foo/bar", "rw"},
		{"c", "roger", "$SYS/broker/uptime", "-"},
		{"c", "", "$SYS/broker/connection/c/state", "rw"},
		{"c", "", "$SYS/broker/connection/d/state", "r"},
		{"c", "bob", "sensor/bob/data", "w"},
		{"c", "", "sensor//data", "-"},
	} {
		if got := verdict(g.Rights(Subject{Client: c.client, User: c.user}), c.topic); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// A file that ends anywhere is refused, or has no user that it should not have.
func TestTruncatedPasswords(t *testing.T) {
	text := golden(t, "passwords")
	whole, err := parsePasswords(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		p, err := parsePasswords(text[:i])
		if err != nil {
			continue
		}
		for user, e := range p.byUser {
			if w := whole.byUser[user]; w == nil || e.hash.sum != w.hash.sum {
				t.Fatalf("%d octets: user %q is another one", i, user)
			}
		}
	}
}

func TestMalformedPasswords(t *testing.T) {
	good := newHash([]byte("p"), 3).String()
	fields := strings.Split(good, "$")
	for _, line := range []string{
		"garbage", "alice", "alice:", ":" + good, " :" + good, "alice:plain", "alice:$5$x$y", "alice:" + good + ":0", "alice:" + good + "$", "alice:x" + good,
		"alice:$7$0$" + fields[3] + "$" + fields[4], "alice:$7$-1$" + fields[3] + "$" + fields[4], "alice:$7$10000001$" + fields[3] + "$" + fields[4],
		"alice:$7$3x$" + fields[3] + "$" + fields[4], "alice:$7$3$" + fields[3] + "$", "alice:$7$3$$" + fields[4], "alice:$6$" + fields[4] + "$" + fields[3],
		"alice:$7$3$" + fields[3] + "$" + fields[4][:80], "al\x01ice:" + good, "al\xffice:" + good, "#alice\n" + strings.Repeat("x", 65536) + ":" + good,
		"other:" + good + "\nother:" + good,
	} {
		p, err := parsePasswords("first:" + good + "\n" + line + "\n")
		if err == nil {
			t.Errorf("%.60q is accepted: %v", line, p.byUser)
			continue
		}
		if !strings.HasPrefix(err.Error(), "2: ") && !strings.HasPrefix(err.Error(), "3: ") {
			t.Errorf("%.60q: no line: %v", line, err)
		}
		if strings.Contains(err.Error(), fields[4][:20]) || strings.Contains(err.Error(), fields[3]) || strings.Contains(err.Error(), "plain") && !strings.Contains(err.Error(), "plain passwords") {
			t.Errorf("%.60q: the error shows it: %v", line, err)
		}
	}
}

func TestMalformedACL(t *testing.T) {
	for line, want := range map[string]string{
		"garbage":                     `"garbage" is not known: allowed are user NAME`,
		"topic":                       "the topic is missing: allowed is topic [",
		"user":                        "the user name is missing",
		"topic reed a":                `access "reed" is not known: allowed are read, write`,
		"topic read a/#/b":            `topic "a/#/b" is no topic filter`,
		"topic read\ta":               "not tabs",
		"user a\x00b":                 "control character",
		"topic a/\xff":                "no topic filter",
		strings.Repeat("long", 1<<15): "longlong",
	} {
		_, err := parseACL("topic a\n" + line)
		if err == nil || !strings.HasPrefix(err.Error(), "2: ") || !strings.Contains(err.Error(), want) || len(err.Error()) > 400 {
			t.Errorf("%.60q: %v", line, err)
		}
	}
	if _, err := parseACL(strings.Repeat("topic a\n", maxRules+1)); err == nil {
		t.Error("any number of lines")
	}
	if _, err := parseACL(strings.Repeat("pattern %c\n", maxPatterns+1)); err == nil {
		t.Error("any number of patterns")
	}
}
