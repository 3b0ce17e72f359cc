package gateway

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// principals are on whose behalf the clients were connected with the broker last.
func (r *rig) principals() map[string]broker.Principal {
	as := map[string]broker.Principal{}
	for _, asked := range r.broker.Asked() {
		if asked.Op == broker.Connect {
			as[asked.ClientID] = asked.As
		}
	}
	return as
}

// ownedLink is a link whose peers are a user's.
type ownedLink struct {
	secureLink
	user string
}

func (l ownedLink) User() string { return l.user }

// newOwnedRig is a secure rig whose link has a user for those who prove nothing.
func newOwnedRig(t *testing.T, st store.Store, change func(*Options)) *rig {
	t.Helper()
	r := newSecureRig(t, func(o *Options) { o.IdentityClientIDs = []string{"${identity}", "${identity}-*"} })
	link := r.gateway.links[0].(secureLink)
	o := r.gateway.options
	if change != nil {
		change(&o)
	}
	g, err := New(o, []transports.Link{ownedLink{link, "plant"}}, r.broker, st, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.gateway = g
	t.Cleanup(func() {
		for _, s := range g.shards {
			s.timer.Stop()
		}
	})
	return r
}

func (r *rig) reload(name, text string) {
	r.Helper()
	writeFile(r.T, name, text)
	if err := r.gateway.Reload(); err != nil {
		r.Fatal(err)
	}
}

// What a client is for the broker: by the file, by its identity, or by the listener.
func TestPrincipals(t *testing.T) {
	file := writeFile(t, "identities", "a pump-7 pumps\na x\n")
	r := newOwnedRig(t, nil, func(o *Options) {
		o.IdentityFile = file
		o.Forwarders = []string{"identity:b"}
	})
	r.from(1, resume("pump-7"))
	r.from(2, resume("a-1")) // in the file, so the templates are not for it
	r.from(4, resume("b-1"))
	r.from(4, behind("1", resume("node")))
	r.from(5, resume("c"))
	r.from(5, mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")})
	r.from(6, mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")})
	r.dropped("identity_refused", 1)
	want := map[string]broker.Principal{
		"pump-7":         {User: "pumps", Identity: "a"},
		"b-1":            {User: "b", Identity: "b"},
		"node":           {User: "plant"},
		"c":              {User: "plant"},
		"mqttsn-gateway": {User: "plant"},
	}
	as := r.principals()
	for id, p := range want {
		if as[id] != p {
			t.Errorf("%q acts on behalf of %+v, want %+v", id, as[id], p)
		}
	}
	if len(as) != len(want) {
		t.Errorf("connected: %v", as)
	}
}

// A ClientID that the file gives to an identity is for no other, whatever the templates say.
func TestClientIDsOfTheFileAreReserved(t *testing.T) {
	file := writeFile(t, "identities", "a b-1\n")
	r := newOwnedRig(t, nil, func(o *Options) { o.IdentityFile = file })
	r.from(4, resume("b-1"))
	r.want("4 CONNACK not supported")
	r.dropped("identity_refused", 1)
	r.from(4, resume("b-2"))
	r.from(1, resume("b-1"))
	r.reload(file, "a b-1\na b-2\n")
	r.dropped("revoked", 1)
	if as := r.principals(); as["b-1"].Identity != "a" || as["b-2"].Identity != "b" {
		t.Errorf("%v", as)
	}
}

// An identity that has one ClientID by the file goes on from a new peer without a CONNECT.
func TestIdentityOfTheFileRoams(t *testing.T) {
	r := newOwnedRig(t, nil, func(o *Options) { o.IdentityFile = writeFile(t, "identities", "a pump-7\n") })
	r.subscribed(1, "pump-7", "ab")
	r.from(2, mqttsn.Pingreq{})
	r.want("2 PINGRESP")
	r.publish("ab", 0)
	r.want("2 PUBLISH")
	r.from(4, mqttsn.Pingreq{})
	r.want("4 DISCONNECT")
}

// After a restart a session has the same principal, by what the file and the links say now.
func TestPrincipalsAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := writeFile(t, "identities", "a pump-7 pumps\n")
		use := func(o *Options) { o.IdentityFile = file }
		st := store.NewMemory()
		r := newOwnedRig(t, st, use)
		for peer, id := range map[int]string{1: "pump-7", 4: "b", 5: "c"} {
			r.from(peer, resume(id))
			r.from(peer, asleep(600))
		}
		again := st.Crash()
		r = newOwnedRig(t, again, use)
		r.gateway.resume(t.Context())
		synctest.Wait()
		as := r.principals()
		for id, p := range map[string]broker.Principal{
			"pump-7": {User: "pumps", Identity: "a"}, "b": {User: "b", Identity: "b"}, "c": {User: "plant"},
		} {
			if as[id] != p {
				t.Errorf("%q acts on behalf of %+v, want %+v", id, as[id], p)
			}
		}
		// And if an identity may not use its ClientID any more, it is disconnected then.
		writeFile(t, file, "a pump-8 pumps\n")
		r = newOwnedRig(t, again.Crash(), use)
		r.gateway.resume(t.Context())
		synctest.Wait()
		r.dropped("revoked", 1)
		r.from(1, mqttsn.Pingreq{})
		r.want("1 DISCONNECT")
	})
}

// plainLink is a link whose peers prove nothing and are a user's.
type plainLink struct {
	*scriptedLink
	user string
}

func (l plainLink) User() string { return l.user }

// A session whose client has proven nothing is that of its listener's user, which may have
// another one after a restart.
func TestUserOfAListenerAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestartable(t, nil)
		for _, user := range []string{"plant", "hall"} {
			r.links = []transports.Link{plainLink{r.link, user}}
			r.restart()
			r.from(1, resume("a"))
			r.later()
			if as := r.principals()["a"]; as.User != user {
				t.Errorf("it acts on behalf of %+v, want user %s", as, user)
			}
		}
		if n := r.gateway.Stats().Dropped["user_refused"]; n != 0 {
			t.Error("the client is refused for the user that it had before")
		}
	})
}

// Of a peer that has gone nobody knows what it may do, so with rights it may do nothing.
func TestQoSMinusOneOfAPeerThatIsGone(t *testing.T) {
	for _, access := range []*auth.Guard{nil, guard(t, "topic write ab\nuser plant\ntopic write ab\n")} {
		r := newOwnedRig(t, nil, func(o *Options) { o.Access = access })
		r.from(9, mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")})
		if n := len(r.broker.Published()); (n == 1) != (access == nil) {
			t.Errorf("%d messages published, with rights %t", n, access != nil)
		}
	}
}

// Who may not use its ClientID any more is told and lost, its will is published, and nobody
// else notices. Its session is for the identity that has the ClientID now, but begins anew.
func TestReloadOfTheIdentityFile(t *testing.T) {
	file := writeFile(t, "identities", "a x\nb y\n")
	r := newOwnedRig(t, nil, func(o *Options) { o.IdentityFile = file })
	r.from(1, mqttsn.Connect{ProtocolID: 1, Duration: 60, Will: true, ClientID: []byte("x")})
	r.from(1, mqttsn.WillTopic{Topic: []byte("will")})
	r.from(1, mqttsn.WillMsg{Message: []byte("gone")})
	r.from(1, subscribe("ab"))
	r.from(4, resume("y"))
	r.from(5, resume("anonymous"))
	r.link.sent, r.link.to = nil, nil

	r.reload(file, "a x users\nb y\n")
	r.want()
	r.reload(file, "a z\nb y\nb x\n")
	r.want("1 DISCONNECT")
	r.dropped("revoked", 1)
	if p := r.broker.Published(); len(p) != 1 || p[0].Topic != "will" {
		t.Errorf("published: %+v, want the will", p)
	}
	r.from(4, mqttsn.Pingreq{})
	r.from(5, mqttsn.Pingreq{})
	r.from(1, resume("x")) // it is not its own any more
	r.from(6, resume("x")) // and not anybody's
	r.want("4 PINGRESP", "5 PINGRESP", "1 CONNACK not supported", "6 CONNACK not supported")
	r.from(4, resume("x"))
	r.want("4 CONNACK accepted")
	if s := r.broker.Subscriptions("x"); len(s) != 0 {
		t.Errorf("the session does not begin anew: %v", s)
	}
	if want := (broker.Principal{User: "b", Identity: "b"}); r.principals()["x"] != want {
		t.Errorf("it acts on behalf of %+v, want %+v", r.principals()["x"], want)
	}
}

// The broker inside knows whose a session is. Who has the ClientID now begins anew there, too,
// and the one before has left nothing.
func TestClientIDOfAnotherIdentity(t *testing.T) {
	for _, sleeping := range []bool{false, true} {
		file := writeFile(t, "identities", "a x\n")
		r := newOwnedRig(t, nil, func(o *Options) { o.IdentityFile = file })
		bo := embedded.DefaultOptions()
		bo.Listeners, bo.SysInterval = nil, 0
		log := slog.New(slog.DiscardHandler)
		inside, err := embedded.New(bo, nil, log)
		if err != nil {
			t.Fatal(err)
		}
		g, err := New(r.gateway.options, r.gateway.links, inside, nil, log)
		if err != nil {
			t.Fatal(err)
		}
		r.gateway = g
		publish := func() {
			r.from(5, mqttsn.Publish{QoS: 1, MsgID: 1, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")})
		}
		r.from(5, resume("anybody"))
		r.from(1, resume("x"))
		r.from(1, subscribe("ab"))
		if sleeping {
			r.from(1, asleep(60))
		}
		publish()
		r.reload(file, "b x\n")
		publish()
		r.link.sent, r.link.to = nil, nil
		r.from(4, resume("x"))
		r.want("4 CONNACK accepted")
		publish()
		r.want("5 PUBACK")
		r.from(4, subscribe("ab"))
		publish()
		r.want("4 SUBACK", "4 PUBLISH", "5 PUBACK")
		for _, s := range g.shards {
			s.timer.Stop()
		}
	}
}

// A CONNECT that waits for the broker is not taken for that of another client which has
// proven more.
func TestConnectOfAnotherIdentityMeanwhile(t *testing.T) {
	r := newOwnedRig(t, nil, nil)
	r.broker.Hold(broker.Answered)
	r.from(5, connect("a"))
	r.from(1, connect("a"))
	r.broker.Release()
	r.gateway.settle()
	r.want("1 CONNACK accepted")
	if want := (broker.Principal{User: "a", Identity: "a"}); r.principals()["a"] != want {
		t.Errorf("it acts on behalf of %+v, want %+v", r.principals()["a"], want)
	}
}

// A file that is broken changes nothing, and the error says what is wrong.
func TestReloadOfABrokenIdentityFile(t *testing.T) {
	file := writeFile(t, "identities", "a x\n")
	r := newOwnedRig(t, nil, func(o *Options) { o.IdentityFile = file })
	r.from(1, resume("x"))
	r.want("1 CONNACK accepted")
	writeFile(t, file, "b x\na\n")
	if err := r.gateway.Reload(); err == nil || !strings.Contains(err.Error(), "identity_file") || !strings.Contains(err.Error(), file+": line 2") {
		t.Errorf("error %v", err)
	}
	writeFile(t, file, "b x\n")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.gateway.Reload(); err == nil || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("error %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if r.gateway.Reload() == nil {
		t.Error("a file that is not there is read")
	}
	r.from(1, mqttsn.Pingreq{})
	r.want("1 PINGRESP")
	if got := r.gateway.Files(); len(got) != 1 || got[0] != file {
		t.Errorf("files %q", got)
	}
	o := r.gateway.options
	if _, err := New(o, r.gateway.links, r.broker, nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a gateway begins without its file")
	}
}

// Two listeners with different users are two worlds: a client of one is not taken over from
// the other while it is alive, and what it leaves is not for the other.
func TestUsersOfListeners(t *testing.T) {
	r := newRig(t, nil)
	plant, guests := ownedLink{secureLink{r.link, nil}, "plant"}, ownedLink{secureLink{r.link, nil}, "guests"}
	g, err := New(r.gateway.options, []transports.Link{plant, guests}, r.broker, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.gateway = g
	from := func(link, peer int, p mqttsn.Packet) {
		g.intakes[link].receive([]transports.Datagram{{Addr: addr(peer), Data: p.Append(nil)}})
	}
	from(0, 1, resume("x"))
	from(0, 1, subscribe("ab"))
	r.want("1 CONNACK accepted", "1 SUBACK")
	from(1, 2, resume("x"))
	from(1, 2, mqttsn.Pingreq{ClientID: []byte("x")})
	r.want("2 CONNACK not supported", "2 DISCONNECT")
	r.dropped("user_refused", 2)
	from(0, 3, mqttsn.Pingreq{ClientID: []byte("x")})
	r.want("3 PINGRESP")
	from(0, 3, mqttsn.Disconnect{})
	from(1, 2, resume("x"))
	r.want("3 DISCONNECT", "2 CONNACK accepted")
	if s := r.broker.Subscriptions("x"); len(s) != 0 {
		t.Errorf("the session does not begin anew: %v", s)
	}
	r.publish("ab", 0)
	r.want()
}

// Rights are those of the client's user, and a reload counts at once, for subscriptions that
// are there, too.
func TestRightsOfDevices(t *testing.T) {
	o := auth.DefaultOptions()
	o.ACLFile = writeFile(t, "acl", "user pumps\ntopic write up\ntopic read ab\nuser plant\ntopic readwrite cd\n")
	access, err := auth.New(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := newOwnedRig(t, nil, func(o *Options) {
		o.Access, o.IdentityFile = access, writeFile(t, "identities", "a pump pumps\n")
	})
	up := mqttsn.Publish{QoS: 1, MsgID: 9, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("up")}
	for peer, id := range map[int]string{1: "pump", 5: "anybody"} {
		r.from(peer, resume(id))
		r.from(peer, subscribe("ab"))
		r.from(peer, up)
	}
	r.link.sent, r.link.to = nil, nil
	r.dropped("not_authorized", 2) // SUBSCRIBE and PUBLISH of anybody
	if n := len(r.broker.Published()); n != 1 {
		t.Errorf("%d messages published, want one", n)
	}
	r.publish("ab", 0)
	r.want("1 PUBLISH")
	writeFile(t, o.ACLFile, "user plant\ntopic readwrite ab\n")
	if err := access.Reload(); err != nil {
		t.Fatal(err)
	}
	r.publish("ab", 0)
	r.publish("ab", 1)
	r.want()
	r.dropped("withheld", 2)
	r.gateway.check(t)
	r.from(1, up)
	r.from(5, subscribe("ab"))
	r.want("1 PUBACK", "5 SUBACK")
	r.publish("ab", 0)
	r.want("5 PUBLISH")
}

func TestTakeoversAreCounted(t *testing.T) {
	r := newSecureRig(t, nil)
	r.from(5, resume("x"))
	r.from(6, resume("x")) // 1
	r.from(6, asleep(60))
	r.from(7, mqttsn.Pingreq{ClientID: []byte("x")}) // 2
	r.from(7, mqttsn.Disconnect{})
	r.from(8, resume("x")) // not alive
	r.from(1, resume("a"))
	r.from(2, resume("a")) // proven
	if n := r.gateway.Stats().Takeovers; n != 2 {
		t.Errorf("%d takeovers, want 2", n)
	}
}
