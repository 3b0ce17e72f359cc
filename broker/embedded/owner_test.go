package embedded

import (
	"fmt"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// comes is somebody who connects with a client id.
type comes struct {
	name   string
	device bool
	as     broker.Principal // of an MQTT client the user alone
}

var (
	nobody    = comes{name: "an anonymous client"}
	alice     = comes{name: "alice", as: broker.Principal{User: "alice"}}
	bob       = comes{name: "bob", as: broker.Principal{User: "bob"}}
	plain     = comes{name: "a device", device: true}
	classed   = comes{name: "a device of a listener's user", device: true, as: broker.Principal{User: "alice"}}
	known     = comes{name: "a device with an identity", device: true, as: broker.Principal{User: "alice", Identity: "key-1"}}
	other     = comes{name: "a device with another identity", device: true, as: broker.Principal{User: "alice", Identity: "key-2"}}
	nameless  = comes{name: "a device with an identity and no user", device: true, as: broker.Principal{Identity: "key-1"}}
	everybody = []comes{nobody, alice, bob, plain, classed, known, other, nameless}
)

// arrives connects, and reports whether that was refused. If not, leave ends the connection.
func (who comes) arrives(t *testing.T, b *Broker, clean bool) (refused, present bool, leave func()) {
	t.Helper()
	if who.device {
		d := open(t, b, "x")
		d.do(broker.Request{Op: broker.Connect, CleanSession: clean, As: who.as})
		ev := d.next()
		return ev.Code == broker.CodeNotAuthorized, ev.SessionPresent, func() {
			d.do(broker.Request{Op: broker.Disconnect})
		}
	}
	p := dial(t, b, mqtt.V5)
	c := &mqtt.Connect{ClientID: []byte("x")}
	stay(c)
	c.CleanStart = clean
	if who.as.User != "" {
		as(who.as.User)(c)
	}
	p.send(c)
	ack := expect[*mqtt.Connack](p)
	return ack.Code == mqtt.CodeNotAuthorized, ack.SessionPresent, func() { p.conn.Close() }
}

// Who may have a session, by whose it is, connected or not, to go on with it or to begin a
// new one.
func TestOwners(t *testing.T) {
	access := guarded(t, "alice bob", "", anonymous)
	open := map[string]bool{}
	for _, who := range everybody {
		open[who.name] = true
	}
	allowed := map[string]map[string]bool{
		nobody.name:   open,
		plain.name:    open,
		classed.name:  open, // it has proven nothing
		alice.name:    {alice.name: true, known.name: true, other.name: true},
		bob.name:      {bob.name: true},
		known.name:    {known.name: true, nameless.name: true, alice.name: true},
		nameless.name: {known.name: true, nameless.name: true},
		other.name:    {other.name: true, alice.name: true},
	}
	// The client id is that of the device, and so it begins a session of its own.
	anew := map[string]map[string]bool{
		alice.name: {nameless.name: true},
		bob.name:   {known.name: true, other.name: true, nameless.name: true},
	}
	for _, first := range everybody {
		for _, second := range everybody {
			for _, stays := range []bool{false, true} {
				for _, clean := range []bool{false, true} {
					b := serve(t, access.option)
					refused, _, leave := first.arrives(t, b, false)
					if refused {
						t.Fatalf("%s is refused", first.name)
					}
					if !stays {
						leave()
						until(t, "the first has gone", func() bool { return b.Stats().Connected == 0 })
					}
					refused, present, _ := second.arrives(t, b, clean)
					begins := anew[first.name][second.name]
					may := allowed[first.name][second.name] || begins
					what := fmt.Sprintf("%s after %s, who is there: %v, clean: %v", second.name, first.name, stays, clean)
					if refused == may {
						t.Errorf("%s: refused: %v", what, refused)
					}
					if present != (may && !clean && !begins) {
						t.Errorf("%s: session present: %v", what, present)
					}
					st := b.Stats()
					if n := st.RefusedConnects["client_id_not_own"]; n != 0 == may {
						t.Errorf("%s: %d refused", what, n)
					}
					if !may && (st.Takeovers != 0 || st.Sessions != 1) {
						t.Errorf("%s: %d takeovers, %d sessions", what, st.Takeovers, st.Sessions)
					}
				}
			}
		}
	}
}

// Without an access file nobody proves a user name, but a device still proves its identity.
func TestOwnersWithoutAccess(t *testing.T) {
	b := serve(t)
	_, _, leave := known.arrives(t, b, false)
	leave()
	for _, who := range []comes{nobody, alice, plain, other} {
		if refused, _, _ := who.arrives(t, b, false); !refused {
			t.Errorf("%s may have the session of a device", who.name)
		}
	}
	if refused, present, _ := known.arrives(t, b, false); refused || !present {
		t.Errorf("the device itself: refused: %v, session present: %v", refused, present)
	}
	login(t, b, mqtt.V5, "y", as("alice"), stay)
	if n := login(t, b, mqtt.V311, "y", as("bob")).connack.Code; n.Failed() {
		t.Errorf("CONNACK %v", n)
	}
}

// Without a password_file a user name proves nothing; the session has the rights of who came
// last all the same.
func TestOwnersWithoutPasswords(t *testing.T) {
	a := guarded(t, "", "user alice\ntopic a\nuser bob\ntopic b\n")
	st := store.NewMemory()
	at := func(o *Options) { a.option(o); o.Listeners = listeners("127.0.0.1:0") }
	b := newStoreBroker(t, st, at)
	stop := run(t, b)
	login(t, b, mqtt.V5, "x", as("alice"), stay).subscribe(1, "+")
	if p := login(t, b, mqtt.V5, "x", as("bob"), stay); !p.connack.SessionPresent {
		t.Error("bob finds no session")
	}
	left := st.Crash()
	stop()
	b = newStoreBroker(t, left, at)
	run(t, b)
	d := connected(t, b, "d", true)
	d.publish("a", "for alice", 1, false)
	d.publish("b", "for bob", 1, false)
	login(t, b, mqtt.V5, "x", as("bob"), stay).gets("for bob", 1)
}

// Without a password file a user name proves nothing, so that of a device does not get at the
// device's session.
func TestIdentityWithoutPasswords(t *testing.T) {
	b := serve(t, guarded(t, "", "user alice\ntopic a\n").option)
	known.arrives(t, b, false)
	for _, who := range []comes{nobody, alice, plain, other} {
		if refused, _, _ := who.arrives(t, b, false); !refused {
			t.Errorf("%s may have the session of a device", who.name)
		}
	}
}

// The gateway's own client id is for no MQTT client, with files of users or without, and
// whoever comes first: it could not speak for others any more.
func TestReservedClientID(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		a := guarded(t, "alice", "")
		for _, o := range []func(*Options){func(*Options) {}, a.option} {
			b := serve(t, o, func(o *Options) { o.ReservedClientID = "gw" })
			dial(t, b, v).refused("gw", mqtt.CodeNotAuthorized, as("alice"))
			d := connected(t, b, "gw", true)
			dial(t, b, v).refused("gw", mqtt.CodeNotAuthorized, as("alice"))
			d.quiet()
			login(t, b, v, "other", as("alice"))
			if n := b.Stats().RefusedConnects["client_id_not_own"]; n != 2 {
				t.Errorf("%d refused", n)
			}
		}
	})
}

// Who takes a session that is nobody's has it from then on.
func TestOwnerAdopts(t *testing.T) {
	b := serve(t, guarded(t, "alice bob", "", anonymous).option)
	_, _, leave := nobody.arrives(t, b, false)
	leave()
	if refused, present, _ := alice.arrives(t, b, false); refused || !present {
		t.Errorf("alice: refused: %v, session present: %v", refused, present)
	}
	for _, who := range []comes{nobody, bob, plain} {
		if refused, _, _ := who.arrives(t, b, false); !refused {
			t.Errorf("%s may have it as well", who.name)
		}
	}
}

// The session of a user who has gone from the file is nobody's: whoever comes gets a new one,
// and nothing of what waits in the old one.
func TestOwnerGone(t *testing.T) {
	a := guarded(t, "alice bob", "")
	b := serve(t, a.option)
	_, _, leave := alice.arrives(t, b, false)
	leave()
	if refused, _, _ := bob.arrives(t, b, false); !refused {
		t.Error("bob may have it while alice is there")
	}
	a.writeUsers("bob")
	a.reload("")
	if refused, present, _ := bob.arrives(t, b, false); refused || present {
		t.Errorf("bob: refused: %v, session present: %v", refused, present)
	}
}

// A session is the same client's after a crash.
func TestOwnersAcrossRestart(t *testing.T) {
	a := guarded(t, "alice bob", "", anonymous)
	for _, c := range []struct{ first, second comes }{{known, nobody}, {known, bob}, {alice, bob}, {alice, nobody}, {bob, plain}} {
		st := store.NewMemory()
		at := func(o *Options) { a.option(o); o.Listeners = listeners("127.0.0.1:0") }
		b := newStoreBroker(t, st, at)
		stop := run(t, b)
		if refused, _, _ := c.first.arrives(t, b, false); refused {
			t.Fatalf("%s is refused", c.first.name)
		}
		until(t, "it is durable", func() bool { return b.Stats().Connected == 1 })
		left := st.Crash()
		stop()
		b = newStoreBroker(t, left, at)
		run(t, b)
		if refused, _, _ := c.second.arrives(t, b, false); !refused {
			t.Errorf("%s may have the session of %s", c.second.name, c.first.name)
		}
		if refused, present, _ := c.first.arrives(t, b, false); refused || !present {
			t.Errorf("%s itself: refused: %v, session present: %v", c.first.name, refused, present)
		}
	}
}

// Whoever takes the client id of a device keeps it out no longer than until it comes, and
// cannot have it back then; with a certificate neither.
func TestOwnersYield(t *testing.T) {
	certified := comes{name: "a certificate", device: true, as: broker.Principal{User: "bob", Identity: certificateIdentity + "bob"}}
	for _, squatter := range []comes{bob, certified} {
		b := serve(t, guarded(t, "alice bob", "").option)
		squatter.arrives(t, b, false)
		if refused, present, _ := known.arrives(t, b, false); refused || present {
			t.Errorf("after %s: refused: %v, session present: %v", squatter.name, refused, present)
		}
		if refused, _, _ := bob.arrives(t, b, true); !refused {
			t.Errorf("%s has it back", squatter.name)
		}
		if st := b.Stats(); st.Takeovers != 1 || st.Sessions != 1 || st.Connected != 1 {
			t.Errorf("%d takeovers, %d sessions, %d connected", st.Takeovers, st.Sessions, st.Connected)
		}
	}
}

// A session of an identity stays its own when the device's user has come by MQTT meanwhile.
func TestOwnerStays(t *testing.T) {
	b := serve(t, guarded(t, "alice bob", "", anonymous).option)
	for _, who := range []comes{known, alice} {
		refused, _, leave := who.arrives(t, b, false)
		if refused {
			t.Fatalf("%s is refused", who.name)
		}
		leave()
		until(t, "it has gone", func() bool { return b.Stats().Connected == 0 })
	}
	if refused, _, _ := other.arrives(t, b, false); !refused {
		t.Errorf("%s may have it", other.name)
	}
	if refused, present, _ := nameless.arrives(t, b, false); refused || !present {
		t.Errorf("%s: refused: %v, session present: %v", nameless.name, refused, present)
	}
}
