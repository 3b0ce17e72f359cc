package embedded

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// A reload ends the connections of users who have gone or have another password, and no
// others; their wills are published.
func TestReloadEndsConnections(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		a := guarded(t, "alice bob carol", "", anonymous)
		b := serve(t, a.option)
		d := connected(t, b, "d", true)
		d.subscribe("w", 1)
		gone, changed := login(t, b, v, "a", as("alice"), willOf("w", false)), login(t, b, v, "b", as("bob"))
		carol, nobody := login(t, b, v, "c", as("carol")), login(t, b, v, "n")
		a.writeUsers("carol bob:2 dave")
		a.reload("")
		for _, p := range []*peer{gone, changed} {
			if v == mqtt.V5 {
				if code := expect[*mqtt.Disconnect](p).Code; code != mqtt.CodeNotAuthorized {
					t.Errorf("DISCONNECT %v", code)
				}
			}
			p.closed()
			p.conn.Close()
		}
		d.delivered("gone", 1)
		until(t, "they are gone", func() bool { return b.Stats().Connections == 2 })
		carol.quiet()
		nobody.quiet()
		if n := b.Stats().Disconnects["not_authorized"]; n != 2 {
			t.Errorf("%d were disconnected", n)
		}
	})
}

// A file with a mistake changes nothing.
func TestReloadOfBrokenFiles(t *testing.T) {
	a := guarded(t, "alice", "user alice\ntopic a\n")
	b := serve(t, a.option)
	p := login(t, b, mqtt.V5, "p", as("alice"))
	p.subscribe(0, "a")
	for _, broken := range []string{"user alice\ntopic all a\n", "pattern\n", "topics a\n"} {
		a.write(a.acl, broken)
		if err := a.guard.Reload(); err == nil || !strings.Contains(err.Error(), "acl") {
			t.Errorf("%q: %v", broken, err)
		}
	}
	a.write(a.passwords, "")
	a.write(a.acl, "topic\n")
	if a.guard.Reload() == nil {
		t.Error("it is taken")
	}
	b.review()
	p.publish("a", "x", 0, false)
	p.gets("x", 0)
}

// Rights that are taken away end what is under way: messages that come, those that wait for
// a client that is there or away, and retained ones; what was sent already can be completed.
func TestRevokedRights(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		a := guarded(t, "alice", "user alice\ntopic #\n")
		b := serve(t, a.option, func(o *Options) { o.MaxInflightMessages = 2; o.QueueQoS0Messages = true })
		d := connected(t, b, "d", true)
		p := login(t, b, v, "p", as("alice"), stay)
		p.subscribe(2, "t/+")
		for i := range 4 {
			d.publish("t/a", fmt.Sprint(i), 2, false)
		}
		d.publish("t/b", "b", 1, false)
		b.Flush()
		first, second := p.gets("0", 2), p.gets("1", 2)
		a.reload("user alice\ntopic read t/b\n")
		p.send(&mqtt.Pubrec{PacketID: first.PacketID})
		expect[*mqtt.Pubrel](p)
		p.send(&mqtt.Pubcomp{PacketID: first.PacketID})
		m := p.gets("b", 1) // those before are dropped
		p.send(&mqtt.Puback{PacketID: m.PacketID})
		d.publish("t/a", "no", 0, false)
		d.publish("t/a", "no", 1, false)
		b.Flush()
		p.send(&mqtt.Pubrec{PacketID: second.PacketID})
		expect[*mqtt.Pubrel](p)
		p.quiet()
		p.conn.Close()
		until(t, "the client is gone", func() bool { return b.Stats().Connections == 0 })

		a.reload("user alice\ntopic read t/#\n")
		for qos := range byte(3) {
			d.publish("t/a", "queued", qos, true)
		}
		d.publish("t/b", "b", 1, false)
		a.reload("user alice\ntopic read t/b\n")
		p = login(t, b, v, "p", as("alice"), stay)
		expect[*mqtt.Pubrel](p) // for the second one
		m = p.gets("b", 1)
		p.send(&mqtt.Puback{PacketID: m.PacketID}, &mqtt.Pubcomp{PacketID: second.PacketID})
		p.subscribe(0, "t/#")
		p.quiet()
		until(t, "nothing waits", func() bool { return b.Stats().QueuedMessages == 0 })
		if n := b.Stats().Dropped["receiver_not_authorized"]; n != 7 {
			t.Errorf("%d were dropped", n)
		}
	})
}

// Retained messages come to who may receive them, at the time when they are sent, and only
// while their publisher might publish them: also after a crash, and after one more.
func TestRetainedOfPublisher(t *testing.T) {
	const rights = "user alice\ntopic write r/#\nuser bob\ntopic read r/#\ntopic write r/bob\ntopic write w\ntopic read w\n"
	const revoked = "user alice\ntopic write r/kept\nuser bob\ntopic read r/#\n"
	a := guarded(t, "alice bob", rights)
	st := store.NewMemory()
	at := func(o *Options) { a.option(o); o.Listeners = listeners("127.0.0.1:0") }
	b := newStoreBroker(t, st, at)
	stop := run(t, b)
	away := login(t, b, mqtt.V5, "away", as("bob"), stay)
	away.subscribe(1, "r/+") // so that the messages have records of their own
	away.conn.Close()
	p := login(t, b, mqtt.V5, "p", as("alice"))
	p.publish("r/kept", "kept", 1, true)
	p.publish("r/lost", "lost", 1, true)
	p.publish("r/two/lost", "lost", 1, true)
	q := login(t, b, mqtt.V5, "q", as("bob"), willOf("w", true))
	q.publish("r/bob", "bob", 0, true)
	q.conn.Close()
	d := open(t, b, "d")
	d.do(broker.Request{Op: broker.Connect, As: broker.Principal{User: "alice"}})
	d.publish("r/device", "device", 1, true)
	until(t, "all is retained", func() bool { return b.Stats().RetainedMessages == 6 })
	sees := func(b *Broker, want ...string) {
		t.Helper()
		p := login(t, b, mqtt.V5, "sees", as("bob"))
		p.subscribe(0, "#")
		got := map[string]bool{}
		for range want {
			got[string(expect[*mqtt.Publish](p).Topic)] = true
		}
		p.quiet()
		for _, w := range want {
			if !got[w] {
				t.Errorf("%s is missing: %v", w, got)
			}
		}
		p.conn.Close()
	}
	sees(b, "r/kept", "r/lost", "r/two/lost", "r/bob", "r/device", "w")
	a.reload(revoked)
	sees(b, "r/kept")
	for range 2 {
		left := st.Crash()
		stop()
		st = left
		b = newStoreBroker(t, st, at)
		stop = run(t, b)
		sees(b, "r/kept")
		a.reload(rights)
		sees(b, "r/kept", "r/lost", "r/two/lost", "r/bob", "r/device", "w")
		a.reload(revoked)
	}
	p = login(t, b, mqtt.V5, "away", as("bob"), stay)
	for _, want := range []string{"kept", "lost", "device"} {
		m := p.gets(want, 1) // for bob as any other message: what was queued stays
		p.send(&mqtt.Puback{PacketID: m.PacketID})
	}
}

// What was retained while nobody had rights is replayed: nobody knows who might be asked.
func TestRetainedOfOldRecords(t *testing.T) {
	st := store.NewMemory()
	at := func(o *Options) { o.Listeners = listeners("127.0.0.1:0") }
	b := newStoreBroker(t, st, at)
	stop := run(t, b)
	login(t, b, mqtt.V5, "p").publish("r", "old", 1, true)
	left := st.Crash()
	stop()
	a := guarded(t, "bob", "user bob\ntopic read r\n")
	b = newStoreBroker(t, left, at, a.option)
	run(t, b)
	p := login(t, b, mqtt.V5, "sub", as("bob"))
	p.subscribe(0, "r")
	p.gets("old", 0)
}

// A session that was loaded has its user's rights before the client comes back.
func TestRightsAcrossRestart(t *testing.T) {
	a := guarded(t, "alice", "user alice\ntopic read t\n")
	st := store.NewMemory()
	at := func(o *Options) { a.option(o); o.Listeners = listeners("127.0.0.1:0") }
	b := newStoreBroker(t, st, at)
	stop := run(t, b)
	p := login(t, b, mqtt.V5, "p", as("alice"), stay, func(c *mqtt.Connect) { c.Will.Properties.Delay = mqtt.Some(uint32(0)) })
	p.subscribe(1, "+")
	left := st.Crash()
	stop()
	b = newStoreBroker(t, left, at)
	run(t, b)
	d := connected(t, b, "d", true)
	d.publish("t", "may", 1, false)
	d.publish("u", "may not", 1, false)
	if n := b.Stats().QueuedMessages; n != 1 {
		t.Errorf("%d are queued", n)
	}
	p = login(t, b, mqtt.V5, "p", as("alice"), stay)
	p.gets("may", 1)
	p.quiet()
}

// The defects of other brokers with access lists, one by one.

// CVE-2021-34434: who has lost the right to a topic while away still got it by the old
// subscription.
func TestCVE202134434(t *testing.T) {
	a := guarded(t, "alice", "user alice\ntopic read t\n")
	b := serve(t, a.option)
	p := login(t, b, mqtt.V5, "p", as("alice"), stay)
	p.subscribe(1, "t")
	p.conn.Close()
	until(t, "the client is gone", func() bool { return b.Stats().Connections == 0 })
	a.reload("user alice\ntopic read other\n")
	connected(t, b, "d", true).publish("t", "x", 1, false)
	p = login(t, b, mqtt.V5, "p", as("alice"), stay)
	if !p.connack.SessionPresent {
		t.Error("the session is not there")
	}
	connected(t, b, "d", true).publish("t", "y", 1, false)
	b.Flush()
	p.quiet()
}

// CVE-2018-12546: what was retained by a client that has lost the right to publish it was
// still sent to new subscribers.
func TestCVE201812546(t *testing.T) {
	a := guarded(t, "alice bob", "user alice\ntopic write t\nuser bob\ntopic read t\n")
	b := serve(t, a.option)
	login(t, b, mqtt.V311, "p", as("alice")).publish("t", "x", 1, true)
	login(t, b, mqtt.V311, "q", as("bob")).subscribe(0, "t")
	a.reload("user bob\ntopic read t\n")
	p := login(t, b, mqtt.V311, "r", as("bob"))
	p.subscribe(0, "t")
	p.quiet()
}

// CVE-2017-7650: with a pattern in the file, a client id or user name with a wildcard in it
// reached everything.
func TestCVE20177650(t *testing.T) {
	b := serve(t, guarded(t, "", "pattern readwrite c/%c\npattern readwrite u/%u\n").option)
	d := connected(t, b, "d", true)
	for i, who := range []struct{ client, user string }{{"#", "x"}, {"+", "x"}, {"x", "#"}, {"x", "+"}, {"+/+", "#"}, {"a/#", "+/b"}} {
		p := login(t, b, mqtt.V5, who.client, as(who.user))
		p.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("#")}}})
		if code := expect[*mqtt.Suback](p).Codes[0]; code != mqtt.CodeNotAuthorized {
			t.Errorf("%v: SUBACK %v", who, code)
		}
		for _, topic := range []string{"c/other", "u/other", "c/a/b", "c/x", "u/x"} {
			p.send(&mqtt.Publish{Topic: []byte(topic), QoS: 1, PacketID: 1})
			if code := expect[*mqtt.Puback](p).Code; code != mqtt.CodeNotAuthorized {
				t.Errorf("%v: PUBACK of %s: %v", who, topic, code)
			}
			d.publish(topic, fmt.Sprint(i), 0, false)
		}
		b.Flush()
		p.quiet()
		p.conn.Close()
	}
}

// CVE-2018-12550: an acl_file without a rule counted as none, so that everything was allowed.
func TestCVE201812550(t *testing.T) {
	for _, acl := range []string{"\n", "# nothing here\n"} {
		b := serve(t, guarded(t, "alice", acl).option)
		for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			p := login(t, b, v, "p", as("alice"))
			p.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("t")}}})
			if !expect[*mqtt.Suback](p).Codes[0].Failed() {
				t.Error("it may subscribe")
			}
			p.publish("t", "x", 0, true)
			p.quiet()
			p.conn.Close()
		}
		if st := b.Stats(); st.RetainedMessages != 0 || st.Received[0] != 0 {
			t.Errorf("%d are retained, %d were received", st.RetainedMessages, st.Received[0])
		}
	}
}

// CVE-2018-12551: a line of the password_file that is no user and hash let in whoever gave
// that name, without a password.
func TestCVE201812551(t *testing.T) {
	a := guarded(t, "alice", "")
	for _, line := range []string{"bob", "bob:", ":", ":x", "bob:$6$", "bob:$6$c2FsdA==$"} {
		a.write(a.passwords, line+"\n")
		o := auth.DefaultOptions()
		o.PasswordFile = a.passwords
		if _, err := auth.New(o, silent()); err == nil {
			t.Errorf("%q is taken", line)
		}
		if err := a.guard.Reload(); err == nil || errors.Is(err, auth.ErrUnknownUser) {
			t.Errorf("%q is taken: %v", line, err)
		}
	}
	b := serve(t, a.option)
	dial(t, b, mqtt.V311).refused("p", mqtt.CodeBadCredentials, func(c *mqtt.Connect) { c.Username = []byte("bob") })
}

// A new subscription brings the retained messages that there is a right to, and no others,
// also if the right goes while they wait to be sent.
func TestRightsToRetained(t *testing.T) {
	const rights = "user alice\ntopic write r/#\nuser bob\ntopic read r/a\ntopic read r/b\n"
	a := guarded(t, "alice bob", rights)
	b := serve(t, a.option, func(o *Options) { o.MaxInflightMessages = 1 })
	p := login(t, b, mqtt.V5, "p", as("alice"))
	for _, topic := range []string{"r/a", "r/b", "r/c", "r"} {
		p.publish(topic, topic, 2, true)
	}
	for qos := range mqtt.QoS(3) {
		q := login(t, b, mqtt.V5, fmt.Sprint("q", qos), as("bob"))
		q.subscribe(qos, "#")
		got := map[string]bool{}
		for range 2 {
			m := expect[*mqtt.Publish](q)
			got[string(m.Topic)] = true
			switch qos {
			case 1:
				q.send(&mqtt.Puback{PacketID: m.PacketID})
			case 2:
				q.send(&mqtt.Pubrec{PacketID: m.PacketID})
				expect[*mqtt.Pubrel](q)
				q.send(&mqtt.Pubcomp{PacketID: m.PacketID})
			}
		}
		q.quiet()
		if !got["r/a"] || !got["r/b"] {
			t.Errorf("QoS %d: got %v", qos, got)
		}
	}
	for i, revoked := range []string{"user alice\ntopic write r/#\n", "user bob\ntopic read r/#\n"} {
		q := login(t, b, mqtt.V5, "q", as("bob"))
		q.subscribe(1, "r/a", "r/b")
		m := expect[*mqtt.Publish](q) // the other one waits for its acknowledgement
		a.reload(revoked)
		q.send(&mqtt.Puback{PacketID: m.PacketID})
		q.quiet()
		q.conn.Close()
		if n := b.Stats().Dropped["receiver_not_authorized"]; n != uint64(1+i) {
			t.Errorf("%d were dropped", n)
		}
		a.reload(rights)
	}
}

// The will of a device is asked for again when it is published, by the rights of its user.
func TestRevokedWillOfDevice(t *testing.T) {
	const rights = "user alice\ntopic write w\n"
	a := guarded(t, "alice", rights)
	b := newBroker(t, a.option)
	watcher := connected(t, b, "watcher", true)
	watcher.subscribe("w", 1)
	lose := func() {
		t.Helper()
		d := open(t, b, "d")
		d.do(broker.Request{Op: broker.Connect, As: broker.Principal{User: "alice"}, Will: &broker.Message{Topic: "w", Payload: []byte("gone"), QoS: 1}})
		d.answer()
		d.do(broker.Request{Op: broker.Abandon})
	}
	lose()
	watcher.ack(watcher.delivered("gone", 1))
	a.reload("user alice\ntopic read w\n")
	lose()
	watcher.quiet()
}

// Who shows a wrong password has to wait for the answer.
func TestLoginPause(t *testing.T) {
	b := serve(t, guarded(t, "alice", "").option)
	p := dial(t, b, mqtt.V5)
	start := time.Now()
	p.refused("p", mqtt.CodeBadCredentials, as("bob"))
	if d := time.Since(start); d < failedPause {
		t.Errorf("the answer came after %v", d)
	}
}
