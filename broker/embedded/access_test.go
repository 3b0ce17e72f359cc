package embedded

import (
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/broker/mqtt"
)

// access are the files of a Guard, as they are now.
type access struct {
	t         testing.TB
	guard     *auth.Guard
	passwords string
	acl       string
}

// guarded is a Guard with these users, whose passwords are "pw-" and their name, and this
// acl_file.
func guarded(t testing.TB, users, acl string, change ...func(*auth.Options)) *access {
	t.Helper()
	dir := t.TempDir()
	a := &access{t: t, passwords: filepath.Join(dir, "passwords"), acl: filepath.Join(dir, "acl")}
	o := auth.DefaultOptions()
	if users != "" {
		o.PasswordFile = a.passwords
		a.writeUsers(users)
	}
	if acl != "" {
		o.ACLFile = a.acl
		a.write(a.acl, acl)
	}
	for _, f := range change {
		f(&o)
	}
	g, err := auth.New(o, silent())
	if err != nil {
		t.Fatal(err)
	}
	a.guard = g
	return a
}

func anonymous(o *auth.Options) { o.AllowAnonymous = auth.Yes }

func (a *access) write(name, text string) {
	a.t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// writeUsers writes the password_file; a user with a number behind a colon has that in the
// password as well.
func (a *access) writeUsers(users string) {
	var b strings.Builder
	for _, u := range strings.Fields(users) {
		name, more, _ := strings.Cut(u, ":")
		salt := []byte("salt of 12 o")
		sum := sha512.Sum512(append([]byte("pw-"+name+more), salt...))
		fmt.Fprintf(&b, "%s:$6$%s$%s\n", name, base64.StdEncoding.EncodeToString(salt), base64.StdEncoding.EncodeToString(sum[:]))
	}
	a.write(a.passwords, b.String())
}

// reload has the files read again, with another acl_file.
func (a *access) reload(acl string) {
	a.t.Helper()
	if acl != "" {
		a.write(a.acl, acl)
	}
	if err := a.guard.Reload(); err != nil {
		a.t.Fatal(err)
	}
}

func (a *access) option(o *Options) { o.Access = a.guard }

// as is a CONNECT of a user with its password.
func as(user string) func(*mqtt.Connect) {
	return func(c *mqtt.Connect) { c.Username, c.Password = []byte(user), []byte("pw-"+user) }
}

// refused expects that a CONNECT is answered with the code of MQTT 5, or with that of older
// versions.
func (p *peer) refused(id string, code mqtt.Code, change ...func(*mqtt.Connect)) {
	p.t.Helper()
	c := &mqtt.Connect{CleanStart: true, ClientID: []byte(id)}
	for _, f := range change {
		f(c)
	}
	p.send(c)
	if got := expect[*mqtt.Connack](p).Code; got != code {
		p.t.Fatalf("CONNACK %v, want %v", got, code)
	}
	p.closed()
	p.conn.Close()
}

// Who does not show the right password is not let in, in no version, and whether there is
// such a user cannot be told from the answer.
func TestLogin(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		a := guarded(t, "alice bob", "")
		b := serve(t, a.option)
		login(t, b, v, "a", as("alice"))
		login(t, b, v, "b", as("bob")).quiet()
		for name, change := range map[string]func(*mqtt.Connect){
			"wrong":   func(c *mqtt.Connect) { c.Username, c.Password = []byte("alice"), []byte("pw-bob") },
			"unknown": func(c *mqtt.Connect) { c.Username, c.Password = []byte("carol"), []byte("pw-carol") },
			"none":    func(c *mqtt.Connect) { c.Username = []byte("alice") },
			"empty":   func(c *mqtt.Connect) { c.Username, c.Password = []byte{}, []byte("pw-alice") },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel() // each waits for a second
				dial(t, b, v).refused("c", mqtt.CodeBadCredentials, change)
			})
		}
		dial(t, b, v).refused("c", mqtt.CodeNotAuthorized)
		if n := b.Stats().RefusedConnects; n["anonymous_not_allowed"] != 1 || n["not_authorized"] != 0 {
			t.Errorf("refused %v", n)
		}
	})
}

// An empty user name is none that is known; it is not that of anonymous clients, either.
func TestLoginAnonymous(t *testing.T) {
	a := guarded(t, "alice", "", anonymous)
	b := serve(t, a.option)
	login(t, b, mqtt.V311, "a")
	login(t, b, mqtt.V5, "b", as("alice"))
	dial(t, b, mqtt.V5).refused("c", mqtt.CodeBadCredentials, func(c *mqtt.Connect) { c.Username = []byte{} })
	if n := b.Stats().RefusedConnects["bad_user_name_or_password"]; n != 1 {
		t.Errorf("%d refused", n)
	}
}

const someACL = `topic read public/#
user alice
topic a/#
topic read both
topic write in
user bob
topic readwrite b/#
topic both
topic deny b/secret
pattern write own/%c/%u
pattern read own/%c/%u
`

// A publish that there is no right to is dropped: without a word with QoS 0 and before MQTT 5,
// where it is acknowledged as Mosquitto does it.
func TestRightsToPublish(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t, guarded(t, "alice bob", someACL).option)
		bob := login(t, b, mqtt.V5, "bob", as("bob"))
		bob.subscribe(2, "#")
		watcher := connected(t, b, "watcher", true) // looked at elsewhere
		watcher.subscribe("#", 0)
		p := login(t, b, v, "p", as("alice"))
		for qos := range mqtt.QoS(3) {
			for _, retain := range []bool{false, true} {
				for _, topic := range []string{"b/x", "both", "public/x", "own/p/bob", "own/q/alice"} {
					p.send(&mqtt.Publish{Topic: []byte(topic), Payload: []byte("x"), QoS: qos, Retain: retain, PacketID: 9})
					want := mqtt.CodeSuccess
					if v == mqtt.V5 {
						want = mqtt.CodeNotAuthorized
					}
					switch qos {
					case 1:
						if code := expect[*mqtt.Puback](p).Code; code != want {
							t.Errorf("%s: PUBACK %v", topic, code)
						}
					case 2:
						if code := expect[*mqtt.Pubrec](p).Code; code != want {
							t.Errorf("%s: PUBREC %v", topic, code)
						}
						if v != mqtt.V5 {
							p.send(&mqtt.Pubrel{PacketID: 9})
							expect[*mqtt.Pubcomp](p)
						}
					}
				}
			}
			p.publish("own/p/alice", "own", qos, false)
			p.publish("in", "in", qos, false)
		}
		b.Flush()
		for range 3 {
			watcher.delivered("own", 0)
			watcher.delivered("in", 0)
		}
		watcher.quiet()
		bob.quiet()
		if st := b.Stats(); st.Dropped["not_authorized"] != 30 || st.RetainedMessages != 0 || st.Dropped["receiver_not_authorized"] != 6 {
			t.Errorf("dropped %v, %d are retained", st.Dropped, st.RetainedMessages)
		}
	})
}

// A subscription that can never lead to anything is refused, others hold for what there is a
// right to.
func TestRightsToSubscribe(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t, guarded(t, "alice bob", someACL).option)
		p := login(t, b, v, "p", as("alice"))
		ask := &mqtt.Subscribe{PacketID: 1}
		filters := []string{"b/#", "a/x", "#", "in", "public/x", "own/p/alice", "$share/g/b/+", "$share/g/a/+", "$SYS/#"}
		for _, f := range filters {
			ask.Subscriptions = append(ask.Subscriptions, mqtt.Subscription{Filter: []byte(f)})
		}
		p.send(ask)
		refused := map[string]bool{"b/#": true, "in": true, "public/x": true, "$share/g/b/+": true, "$SYS/#": true}
		want := mqtt.CodeUnspecified
		if v == mqtt.V5 {
			want = mqtt.CodeNotAuthorized
		}
		for i, code := range expect[*mqtt.Suback](p).Codes {
			if f := filters[i]; refused[f] && code != want || !refused[f] && code != 0 {
				t.Errorf("%s: %v", f, code)
			}
		}
		d := connected(t, b, "d", true)
		for _, topic := range []string{"b/x", "public/x", "in", "a", "other"} {
			for qos := range byte(3) {
				d.publish(topic, topic, qos, true)
			}
		}
		b.Flush()
		for range 3 {
			p.gets("a", 0) // by #, which it also stands for
		}
		p.quiet()
		if n := b.Stats().Denied["acl_file"]; n != 5 {
			t.Errorf("%d subscriptions were denied", n)
		}
	})
}

// Of those who share, one who may not have a message does not swallow it.
func TestRightsShared(t *testing.T) {
	b := serve(t, guarded(t, "alice bob", "user alice\ntopic s/+\nuser bob\ntopic s/b\n").option)
	alice, bob := login(t, b, mqtt.V5, "alice", as("alice"), stay), login(t, b, mqtt.V5, "bob", as("bob"))
	alice.subscribe(1, "$share/g/s/+")
	bob.subscribe(1, "$share/g/s/+")
	d := connected(t, b, "d", true)
	for i := range 6 {
		d.publish("s/a", fmt.Sprint(i), 1, false)
	}
	b.Flush()
	for i := range 6 {
		alice.gets(fmt.Sprint(i), 1)
	}
	bob.quiet()
	alice.conn.Close()
	until(t, "alice is gone", func() bool { return b.Stats().Connections == 1 })
	d.publish("s/a", "later", 1, false)
	d.publish("s/b", "now", 1, false)
	d.publish("s/c", "now", 1, false)
	b.Flush()
	bob.gets("now", 1)
	bob.quiet()
	if n := b.Stats().QueuedMessages; n != 9 {
		t.Errorf("%d are queued", n)
	}
	b2 := serve(t, guarded(t, "bob", "user bob\ntopic s/b\n").option)
	bob = login(t, b2, mqtt.V5, "bob", as("bob"))
	bob.subscribe(1, "$share/g/s/+")
	d = connected(t, b2, "d", true)
	d.publish("s/a", "x", 1, false)
	b2.Flush()
	bob.quiet()
	if n := b2.Stats().Dropped["receiver_not_authorized"]; n != 1 {
		t.Errorf("%d were dropped", n)
	}
}

// The same holds for devices, whose rights are looked at in their sessions only when it is too
// late for somebody else's turn.
func TestRightsSharedByDevices(t *testing.T) {
	b := serve(t, guarded(t, "bob", "user bob\ntopic s/+\nuser meters\ntopic s/b\n").option)
	d := open(t, b, "d")
	d.do(broker.Request{Op: broker.Connect, CleanSession: true, As: broker.Principal{User: "meters"}})
	d.answer()
	d.subscribe("$share/g/s/+", 1)
	bob := login(t, b, mqtt.V5, "bob", as("bob"), stay)
	bob.subscribe(1, "$share/g/s/+")
	from := connected(t, b, "from", true)
	for i := range 6 {
		from.publish("s/a", fmt.Sprint(i), byte(i%2), false)
	}
	b.Flush()
	for i := range 6 {
		bob.gets(fmt.Sprint(i), mqtt.QoS(i%2))
	}
	bob.conn.Close()
	until(t, "bob is gone", func() bool { return b.Stats().Connections == 0 })
	from.publish("s/a", "later", 1, false)
	from.publish("s/b", "now", 1, false)
	d.delivered("now", 1)
	d.quiet()
}

func willOf(topic string, retain bool) func(*mqtt.Connect) {
	return func(c *mqtt.Connect) {
		c.HasWill, c.Will = true, mqtt.Will{Topic: []byte(topic), Payload: []byte("gone"), QoS: 1, Retain: retain}
	}
}

// A will that there is no right to is refused with its client; one whose right has been taken
// away meanwhile is not published.
func TestRightsOfWills(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		a := guarded(t, "alice bob", someACL)
		b := serve(t, a.option)
		d := connected(t, b, "d", true)
		d.subscribe("#", 1)
		dial(t, b, v).refused("p", mqtt.CodeNotAuthorized, as("alice"), willOf("b/x", false))
		if n := b.Stats().RefusedConnects["not_authorized"]; n != 1 {
			t.Errorf("%d refused", n)
		}
		p := login(t, b, v, "p", as("alice"), willOf("a/x", true))
		p.conn.Close()
		b.Flush()
		d.ack(d.delivered("gone", 1))
		p = login(t, b, v, "p", as("alice"), willOf("a/y", true))
		a.reload("user alice\ntopic a/x\n")
		p.conn.Close()
		until(t, "alice is gone", func() bool { return b.Stats().Connections == 0 })
		d.quiet()
		if n := b.Stats().Dropped["not_authorized"]; n != 1 {
			t.Errorf("%d were dropped", n)
		}
	})
}

// Below a mount point it is the whole topic that rights are for, as with Mosquitto.
func TestRightsBelowMountPoint(t *testing.T) {
	a := guarded(t, "alice", "user alice\ntopic site/a\n")
	b := serve(t, a.option, func(o *Options) { o.Listeners = []ListenerOptions{listenAt("127.0.0.1:0", mounted("site/"))} })
	p := login(t, b, mqtt.V5, "p", as("alice"), willOf("a", false))
	dial(t, b, mqtt.V5).refused("q", mqtt.CodeNotAuthorized, as("alice"), willOf("site/a", false))
	p.subscribe(0, "#")
	p.send(&mqtt.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1, Payload: []byte("x")})
	p.gets("x", 0)
	if code := expect[*mqtt.Puback](p).Code; code != mqtt.CodeSuccess {
		t.Errorf("a: PUBACK %v", code)
	}
	p.send(&mqtt.Publish{Topic: []byte("site/a"), QoS: 1, PacketID: 1})
	if code := expect[*mqtt.Puback](p).Code; code != mqtt.CodeNotAuthorized {
		t.Errorf("site/a: PUBACK %v", code)
	}
}

// Each refusal is one warning with who and why; nobody can write into the log by it, and no
// password is there.
func TestLogOfRefusals(t *testing.T) {
	a := guarded(t, "alice bob", "user alice\ntopic a\n")
	b, text := logged(t, slog.LevelInfo, a.option, func(o *Options) { o.Listeners = listeners("127.0.0.1:0") })
	refuse := func(id, want string, change ...func(*mqtt.Connect)) {
		t.Helper()
		p := dial(t, b, mqtt.V311)
		c := &mqtt.Connect{CleanStart: true, ClientID: []byte(id)}
		for _, f := range change {
			f(c)
		}
		p.send(c)
		if !expect[*mqtt.Connack](p).Code.Failed() {
			t.Fatal("it is let in")
		}
		line := text.lines()[len(text.lines())-1]
		want = `level=WARN msg="MQTT client refused" client=` + strings.Replace(want, " ", " remote="+p.conn.LocalAddr().String()+" ", 1)
		if line != want {
			t.Errorf("the log says\n%s\nwant\n%s", line, want)
		}
	}
	refuse("c1", `c1 reason=bad_user_name_or_password why="the password is wrong" user=alice`, as("alice"), func(c *mqtt.Connect) { c.Password = []byte("pw-guess") })
	refuse("c\n2", `c\n2 reason=bad_user_name_or_password why="there is no such user" user=ali\nce`, as("ali\nce"))
	refuse("c3", `c3 reason=anonymous_not_allowed why="a user name and a password are needed" user=""`)
	refuse("c4", `c4 reason=not_authorized why="there is no right to publish the will" user=alice`, as("alice"), willOf("b", false))
	login(t, b, mqtt.V311, "c5", as("alice"), stay)
	refuse("c5", `c5 reason=client_id_not_own why="the client id is somebody else's" user=bob`, as("bob"))
	a.writeUsers("bob")
	a.reload("")
	gone := ` client=c5 `
	until(t, "alice is disconnected", func() bool {
		line := text.lines()[len(text.lines())-1]
		return strings.Contains(line, "MQTT client disconnected") && strings.Contains(line, gone) &&
			strings.Contains(line, `reason=not_authorized why="the user may not connect any more"`)
	})
	if strings.Contains(text.String(), "pw-") {
		t.Error("there is a password in the log")
	}
}
