//go:build unix

package auth_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/broker/mqtt"
)

// The same files give the same rights here and in Mosquitto: each file is given to both, and
// to an embedded broker; each subject tries to publish each topic, and to receive each.
func TestSameRightsAsMosquitto(t *testing.T) {
	d := newDifferential(t)
	for _, acl := range corners {
		for rest := cornerSubjects; len(rest) > 0; {
			one := unique(rest)
			rest = slices.DeleteFunc(slices.Clone(rest), func(s auth.Subject) bool { return slices.Contains(one, s) })
			d.compare(acl, one, cornerTopics)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		rules := random.IntN(14)
		if i%10 == 0 {
			rules = 60 // a tree
		}
		var topics []string
		for range 14 {
			topics = append(topics, randomTopic(random))
		}
		slices.Sort(topics)
		var subjects []auth.Subject
		for range 5 {
			subjects = append(subjects, auth.Subject{Client: pick(random, someClients), User: pick(random, append(someUsers, "", ""))})
		}
		d.compare(randomACL(random, rules), unique(subjects), slices.Compact(topics))
	}
	t.Logf("%d cases, %d of them allowed", d.cases, d.allowed)
	if d.allowed < 2000 || d.cases-d.allowed < 2000 {
		t.Error("the cases say little")
	}
}

// Lines that Mosquitto refuses are refused here.
func TestSameLinesAsMosquitto(t *testing.T) {
	for _, line := range []string{
		"topic", "topic ", "pattern", "user", "user  ", "topic a b", "topic rw a", "topic Read a", "Topic a", "topics a",
		"topic\ta", "\ttopic a", " # comment", "topic read a/#/b", "topic a#", "topic a+", "topic +a", "topic #/a", "pattern %c#", "pattern +%u",
		"garbage", "user: alice", "deny a", "topic read a\ngarbage", "topic " + strings.Repeat("/", 201),
		"topic " + strings.Repeat("a", 65536), "pattern write #a", "\xff\xfe", "[general]",
	} {
		dir := t.TempDir()
		o := auth.Options{ACLFile: filepath.Join(dir, "acl"), AllowAnonymous: auth.Yes}
		put(t, o.ACLFile, line+"\n")
		if _, err := auth.New(o, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%.40q is accepted", line)
		}
		command := mosquittoCommand(t, dir, filepath.Join(dir, "s"), o)
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		hang := time.AfterFunc(patience, func() { _ = command.Process.Kill() })
		if err := command.Wait(); err == nil || !hang.Stop() {
			t.Errorf("%.40q: Mosquitto does not refuse it", line)
		}
	}
}

// Password files as mosquitto_passwd makes them are read.
func TestFilesOfMosquittoPasswd(t *testing.T) {
	for name, flags := range map[string][]string{"default": nil, "sha512": {"-H", "sha512"}, "sha512-pbkdf2": {"-H", "sha512-pbkdf2"}, "iterations": {"-I", "2500"}} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "passwords")
			passwordFile(t, file, flags, "alice", "bob smith", "käthe", "a/+%")
			// Batch: plain passwords become hashes.
			plain := filepath.Join(t.TempDir(), "plain")
			put(t, plain, "carol:"+password+"\ndave: "+password+"\n")
			if out, err := exec.Command("mosquitto_passwd", append(slices.Clone(flags), "-U", plain)...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for file, users := range map[string][]string{file: {"alice", "bob smith", "käthe", "a/+%"}, plain: {"carol", "dave"}} {
				g, err := auth.New(auth.Options{PasswordFile: file, AllowAnonymous: auth.Auto}, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				for _, user := range users {
					if err := g.Authenticate(user, []byte(password)); err != nil {
						t.Errorf("%s: %v", user, err)
					}
					if err := g.Authenticate(user, []byte(password+"x")); err == nil {
						t.Errorf("%s: a wrong password is right", user)
					}
				}
			}
		})
	}
}

// Files as "gateway passwd" writes them are read by Mosquitto.
func TestOurFilesInMosquitto(t *testing.T) {
	text := "# people\n"
	var err error
	for user, h := range map[string]auth.Hashing{"alice": {Iterations: auth.DefaultIterations}, "bob smith": {}, "käthe": {Iterations: 1}} {
		if text, err = auth.SetPassword(text, user, []byte(password), h); err != nil {
			t.Fatal(err)
		}
	}
	text, n, err := auth.HashPlain(text+"carol:"+password+"\n", auth.Hashing{Iterations: 101})
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	o := auth.Options{PasswordFile: filepath.Join(t.TempDir(), "passwords"), AllowAnonymous: auth.Auto}
	put(t, o.PasswordFile, text)
	m := startMosquitto(t, o)
	g, err := auth.New(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"", "alice", "bob smith", "käthe", "carol", "dave"} {
		for _, given := range []string{password, password + "x", "x"} {
			_, code := connect(t, m.socket, auth.Subject{"c", user}, given)
			if err := g.Authenticate(user, []byte(given)); code.Failed() != (err != nil) || code.Failed() == (user > "" && user != "dave" && given == password) {
				t.Errorf("%q, %q: here %v, Mosquitto %v", user, given, err, code)
			}
		}
	}
}

// Files by hand, for what chance rarely meets.
var corners = []string{
	"",
	"# topic a\n\n   \n\t\n",
	"topic a",                            // no line end
	"topic a\r\ntopic deny a/b\r\n",      // of Windows
	"  topic   read   a b  \ntopic read", // spaces; a topic with the name of an access
	"topic deny",                         // the same: it allows
	"topic #\ntopic deny a/+\ntopic deny a/b/#", // deny comes first
	"topic deny a\ntopic write a\ntopic read #", //
	"topic read #\nuser alice\ntopic write #",   // general topics are not for users
	"user alice\ntopic a\nuser bob smith\ntopic b\nuser alice\ntopic deny a/b\ntopic a/#",
	"user   bob smith  \ntopic read a b/#\nuser bob  smith\ntopic a",
	"user alice\npattern a/%c\npattern write %u/#", // patterns are for everybody
	"pattern %c\npattern %u\npattern deny a/b",     //
	"pattern a/%c/#\ntopic deny a/c1",              //
	"user alice\ntopic a/c1\npattern deny a/%c",    // a user's topics come before patterns
	"pattern read a/%c\npattern write a/%c",        //
	"pattern x%cy\npattern %c%u\npattern %%c\npattern %u%",
	"pattern #", "pattern +/+", "pattern $x/#", "topic #\npattern deny $x/%c", "pattern %c/#",
	"topic +", "topic +/+", "topic +/#", "topic /#", "topic /+", "topic +/", "topic a/+/#", "topic a//#", "topic a/#", "topic +/b", "topic a/+",
	"topic $x/#", "topic $x/+", "topic #\ntopic $x/a", "topic $SYS/#", "topic +/a/b", "topic $share/#",
	"pattern $SYS/broker/connection/%c/state",
	"topic # \nuser alice\ntopic deny #\npattern a/#",
}

var (
	cornerSubjects = []auth.Subject{
		{"c1", ""}, {"c1", "alice"}, {"c1", "bob smith"}, {"a/b", ""}, {"+", "alice"}, {"a#", ""}, {"c1", "+"},
		{"%u", "alice"}, {"$x", ""}, {"a", "a/b"}, {"c1", "%c"}, {"b", "a#"},
	}
	cornerTopics = []string{
		"a", "a/", "a/b", "a/b/", "a/b/c", "a//b", "a/a/b", "/", "//", "/a", "a b", "a b/c", "b", "read", "deny",
		"a/c1", "a/c1/x", "c1", "c1/a", "alice", "alice/a", "xc1y", "c1alice", "%c", "%c1", "%u", "alice%", "x",
		"$x", "$x/", "$x/a", "$x/a/b", "$x/c1", "$xa", "bob smith", "a/%u", "%u/a",
		"$SYS/a", "$SYSTEM", "$SYS/broker/connection/c1/state", "$shared/a", "$sharp",
	}
)

var (
	someUsers   = []string{"alice", "bob smith", "a/b", "+", "a#", "%c"}
	someClients = []string{"c1", "a", "a/b", "b", "+", "a#", "%u", "a b", "$x", "alice"}
	someLevels  = []string{"", "a", "b", "c1", "alice", "a b", "x"}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func randomTopic(r *rand.Rand) string {
	levels := []string{pick(r, append(someLevels, "$x", "$SYS", "bob smith", "%u"))}
	for range r.IntN(4) {
		levels = append(levels, pick(r, someLevels))
	}
	if topic := strings.Join(levels, "/"); topic != "" {
		return topic
	}
	return "a"
}

func randomACL(r *rand.Rand, rules int) string {
	var b strings.Builder
	for range rules {
		if r.IntN(6) == 0 {
			fmt.Fprintf(&b, "user %s\n", pick(r, someUsers))
		}
		levels := append(someLevels, "+", "+", "+")
		word := "topic"
		if r.IntN(3) == 0 {
			word = "pattern"
			levels = append(levels, "%c", "%c", "%u", "x%cy", "%", "%u%c")
		}
		filter := []string{pick(r, append(levels, "$x", "$SYS"))}
		for range r.IntN(4) {
			filter = append(filter, pick(r, levels))
		}
		if r.IntN(3) == 0 {
			filter[len(filter)-1] = "#"
		}
		text := strings.Join(filter, "/")
		if strings.Trim(text, " ") == "" {
			text = "a"
		}
		access := pick(r, []string{"read ", "write ", "readwrite ", "read ", "write ", "deny ", ""})
		if access == "" && strings.Contains(text, " ") {
			access = "readwrite "
		}
		fmt.Fprintf(&b, "%s %s%s\n", word, access, text)
	}
	return b.String()
}

// unique are the first subjects with each client id: a second connection ends the first.
func unique(subjects []auth.Subject) []auth.Subject {
	var all []auth.Subject
	for _, s := range subjects {
		if !slices.ContainsFunc(all, func(o auth.Subject) bool { return o.Client == s.Client }) {
			all = append(all, s)
		}
	}
	return all
}

// differential is a Mosquitto, a Guard and an embedded broker with the same files.
type differential struct {
	*testing.T
	mosquitto *mosquitto
	embedded  string // socket
	guard     *auth.Guard
	acl       string // name of the file
	marker    *client
	rounds    int
	cases     int
	allowed   int
}

const password = "open sesame"

func newDifferential(t *testing.T) *differential {
	dir := t.TempDir()
	o := auth.Options{PasswordFile: filepath.Join(dir, "passwords"), ACLFile: filepath.Join(dir, "acl"), AllowAnonymous: auth.Yes}
	passwordFile(t, o.PasswordFile, nil, append(someUsers, "oracle", "marker")...)
	put(t, o.ACLFile, "")
	g, err := auth.New(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d := &differential{T: t, mosquitto: startMosquitto(t, o), embedded: startEmbedded(t, g), guard: g, acl: o.ACLFile}
	// With a + in its client id no pattern is for it.
	d.marker = d.connect(d.mosquitto.socket, auth.Subject{Client: "marker+", User: "marker"})
	return d
}

// passwordFile has mosquitto_passwd make a file of these users with one password.
func passwordFile(t *testing.T, name string, flags []string, users ...string) {
	t.Helper()
	for i, u := range users {
		args := append(slices.Clone(flags), "-b", name, u, password)
		if i == 0 {
			args = append([]string{"-c"}, args...)
		}
		if out, err := exec.Command("mosquitto_passwd", args...).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
		}
	}
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
}

// startEmbedded starts an embedded broker and returns its socket.
func startEmbedded(t *testing.T, g *auth.Guard) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	o := embedded.DefaultOptions()
	l := embedded.DefaultListenerOptions()
	l.Listen = "unix:" + socket
	o.Listeners, o.Access = []embedded.ListenerOptions{l}, g
	b, err := embedded.New(o, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Serve(ctx, func() {}); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return socket
}

func (d *differential) connect(socket string, s auth.Subject) *client {
	d.Helper()
	c, code := connect(d.T, socket, s, password)
	if code.Failed() {
		d.Fatalf("%+v: %v", s, code)
	}
	return c
}

// compare gives all an acl_file and compares their answers.
func (d *differential) compare(acl string, subjects []auth.Subject, topics []string) {
	d.Helper()
	d.rounds++
	mark := fmt.Sprintf("mark/%d", d.rounds)
	put(d.T, d.acl, acl+"\nuser marker\ntopic write "+mark+"\nuser oracle\ntopic #\ntopic $x/#\ntopic $xa\ntopic $sharp\n")
	if err := d.guard.Reload(); err != nil {
		d.Fatalf("%v in\n%s", err, acl)
	}
	d.mosquitto.reload(d.T, d.marker, mark)
	there, wire := d.ask(d.mosquitto.socket, subjects, topics), d.ask(d.embedded, subjects, topics)
	for i, s := range subjects {
		rights := d.guard.Rights(s)
		for _, topic := range topics {
			d.judge(acl, s, "publish", topic, rights.MayPublish(topic), there[i].publish[topic])
			if !strings.HasPrefix(topic, "$SYS") && wire[i].publish[topic] != there[i].publish[topic] { // $SYS is the broker's own
				d.Errorf("%+v, publish %q: embedded broker %t, Mosquitto %t, with\n%s", s, topic, wire[i].publish[topic], there[i].publish[topic], acl)
			}
			received, offered := there[i].receive[topic]
			if !offered {
				continue
			}
			d.judge(acl, s, "receive", topic, rights.MayReceive(topic), received)
			if wire[i].receive[topic] != received {
				d.Errorf("%+v, receive %q: embedded broker %t, Mosquitto %t, with\n%s", s, topic, wire[i].receive[topic], received, acl)
			}
			if received && (!rights.MaySubscribe(topic) || !rights.MaySubscribe(widened(topic))) {
				d.Errorf("%+v receives %q, and may not subscribe to it or to %q with\n%s", s, topic, widened(topic), acl)
			}
		}
	}
}

// answers are what a broker lets one subject do, by topic. What nobody can publish, nobody
// can receive, and it is not in receive.
type answers struct {
	publish, receive map[string]bool
}

// ask has each subject publish each topic, and then receive each.
func (d *differential) ask(socket string, subjects []auth.Subject, topics []string) []answers {
	d.Helper()
	all, clients := make([]answers, len(subjects)), make([]*client, len(subjects))
	for i, s := range subjects {
		clients[i] = d.connect(socket, s)
		all[i] = answers{make(map[string]bool), make(map[string]bool)}
		for _, topic := range topics {
			all[i].publish[topic] = clients[i].mayPublish(topic)
		}
	}
	for _, c := range clients {
		c.subscribe("#", "$x/#", "$xa", "$sharp")
	}
	oracle := d.connect(socket, auth.Subject{Client: "oracle+", User: "oracle"})
	for _, topic := range topics {
		if oracle.mayPublish(topic) {
			for i := range all {
				all[i].receive[topic] = false
			}
		}
	}
	for i, c := range clients {
		for topic := range c.received() {
			all[i].receive[topic] = true
		}
	}
	for _, c := range append(clients, oracle) {
		c.send(&mqtt.Disconnect{})
		c.conn.Close()
	}
	return all
}

// widened is a filter that fits a topic and more.
func widened(topic string) string {
	levels := strings.Split(topic, "/")
	if levels[0][:min(1, len(levels[0]))] != "$" {
		levels[0] = "+"
	}
	if n := len(levels); n > 1 {
		levels[n-1] = "#"
	}
	return strings.Join(levels, "/")
}

func (d *differential) judge(acl string, s auth.Subject, what, topic string, here, there bool) {
	d.Helper()
	d.cases++
	if there {
		d.allowed++
	}
	if here != there {
		d.Errorf("%+v, %s %q: here %t, Mosquitto %t, with\n%s", s, what, topic, here, there, acl)
	}
}
