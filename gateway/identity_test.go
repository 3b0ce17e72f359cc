package gateway

import (
	"log/slog"
	"testing"

	"mqttsn-gateway/broker/memory"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// secureLink knows the identities of some peers.
type secureLink struct {
	*scriptedLink
	names map[transports.Addr]string
}

func (l secureLink) Identity(a transports.Addr) (string, bool) { return l.names[a], a != addr(9) }
func (l secureLink) Where(a transports.Addr) string            { return a.String() }

// newSecureRig is a rig where peers 1, 2 and 3 have proven to be "a", and 4 to be "b"; 5
// to 8 have proven nothing, and 9 is gone.
func newSecureRig(t *testing.T, change func(*Options)) *rig {
	r := newRig(t, change)
	link := secureLink{r.link, map[transports.Addr]string{addr(1): "a", addr(2): "a", addr(3): "a", addr(4): "b"}}
	b := memory.New()
	g, err := New(r.gateway.options, []transports.Link{link}, b, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.gateway, r.broker = g, b
	return r
}

func (r *rig) dropped(reason string, want uint64) {
	r.Helper()
	if n := r.gateway.Stats().Dropped[reason]; n != want {
		r.Errorf("%d dropped as %s, want %d", n, reason, want)
	}
}

func TestIdentityBindsTheClientID(t *testing.T) {
	r := newSecureRig(t, nil)
	r.from(1, resume("b"))
	r.want("1 CONNACK not supported")
	r.from(1, resume("a"))
	r.want("1 CONNACK accepted")
	// Nobody else gets at it, by a CONNECT or a PINGREQ, whatever the session's state.
	for _, p := range []mqttsn.Packet{mqttsn.Disconnect{HasDuration: true, Duration: 60}, mqttsn.Disconnect{}} {
		r.from(5, resume("a"))
		r.from(4, resume("a"))
		r.want("4 CONNACK not supported", "5 CONNACK not supported")
		r.from(1, p)
		r.want("1 DISCONNECT")
		r.from(5, mqttsn.Pingreq{ClientID: []byte("a")})
		r.want("5 DISCONNECT")
	}
	r.dropped("identity_refused", 6)
}

// A session that was begun without an identity is taken over by the client that has one,
// but not with what somebody else may have put into it.
func TestIdentityTakesOver(t *testing.T) {
	r := newSecureRig(t, nil)
	r.subscribed(5, "a", "ab")
	r.from(1, resume("a"))
	r.want("1 CONNACK accepted")
	r.publish("ab", 1)
	r.want()
	r.from(5, resume("a"))
	r.want("5 CONNACK not supported")
}

// Who has proven to be the client goes on from a new peer without a CONNECT, even where
// others may not.
func TestIdentityRoams(t *testing.T) {
	for _, policy := range []string{RoamAny, RoamConnect, RoamNever} {
		r := newSecureRig(t, func(o *Options) { o.Roaming = policy })
		r.subscribed(1, "a", "ab")
		r.from(2, mqttsn.Pingreq{})
		r.want("2 PINGRESP")
		r.publish("ab", 0)
		r.want("2 PUBLISH")
		r.from(3, resume("a"))
		r.want("3 CONNACK accepted")
		r.from(3, mqttsn.Disconnect{HasDuration: true, Duration: 60})
		r.from(1, mqttsn.Pingreq{ClientID: []byte("a")})
		r.want("3 DISCONNECT", "1 PINGRESP")
		r.from(4, mqttsn.Pingreq{})
		r.want("4 DISCONNECT")
	}
}

// What a peer had proven that has gone meanwhile is not known, so it may do nothing.
func TestIdentityOfAPeerThatIsGone(t *testing.T) {
	r := newSecureRig(t, nil)
	r.subscribed(5, "x", "ab")
	r.from(9, connect("b"), connect("x"), mqttsn.Pingreq{ClientID: []byte("x")})
	r.want("9 DISCONNECT")
	r.from(9, behind("1", connect("b")))
	r.want()
	r.publish("ab", 0)
	r.want("5 PUBLISH")
}

// An identity that may use several ClientIDs does not say which client goes on.
func TestIdentityWithSeveralClients(t *testing.T) {
	r := newSecureRig(t, func(o *Options) { o.IdentityClientIDs = []string{"${identity}", "${identity}-*"} })
	r.subscribed(1, "a", "ab")
	r.subscribed(2, "a-1", "cd")
	r.from(3, mqttsn.Pingreq{})
	r.want("3 DISCONNECT")
	r.publish("ab", 0)
	r.want("1 PUBLISH")
}

func TestIdentityOfAForwarderIsNotItsNodes(t *testing.T) {
	r := newSecureRig(t, func(o *Options) { o.Forwarders = []string{"identity:b"} })
	r.from(4, behind("1", connect("x")))
	r.wantBehind(4, "1 CONNACK")
	r.from(1, behind("1", connect("y")))
	r.want()
	r.dropped("forwarder_refused", 1)
	r.from(4, behind("2", connect("a")))
	r.from(4, behind("2", mqttsn.Pingreq{}))
	r.wantBehind(4, "2 CONNACK", "2 PINGRESP")
}

func TestTemplates(t *testing.T) {
	for _, c := range []struct {
		template, identity, clientID string
		want                         bool
	}{
		{"${identity}", "a", "a", true}, {"${identity}", "a", "ab", false}, {"${identity}", "a", "", false},
		{"${identity}-*", "a", "a-1", true}, {"${identity}-*", "a", "a-", true}, {"${identity}-*", "a", "b-1", false},
		{"*", "a", "anything", true}, {"x*${identity}", "a", "xa", true}, {"x*${identity}", "a", "xya", true},
		{"x*${identity}", "a", "x", false}, {"*-${identity}-*", "a", "1-a-2", true}, {"*-${identity}-*", "a", "1-b-2", false},
		{"${identity}*${identity}", "aa", "aaa", false}, {"${identity}", "*", "x", false}, {"${identity}", "*", "*", true},
		{"fixed", "a", "fixed", true},
	} {
		if got := matchTemplate(c.template, c.identity, c.clientID); got != c.want {
			t.Errorf("template %q, identity %q, ClientID %q: %t", c.template, c.identity, c.clientID, got)
		}
	}
	o := Options{IdentityClientIDs: []string{"x", "${identity}"}}
	if !o.mayUse("a", "a") || !o.mayUse("a", "x") || o.mayUse("a", "b") {
		t.Error("a list of templates means any of them")
	}
}
