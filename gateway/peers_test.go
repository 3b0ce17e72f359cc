package gateway

import (
	"testing"

	"mqttsn-gateway/mqttsn"
)

// Two clients that take turns at one address, such as two runs of a tool with a fixed
// source port: the one that comes back gets its place again.
func TestClientsTakeTurnsAtAPeer(t *testing.T) {
	for _, policy := range []string{RoamAny, RoamConnect, RoamNever} {
		t.Run(policy, func(t *testing.T) {
			r := newRig(t, func(o *Options) { o.Roaming = policy })
			r.subscribed(1, "a", "ab")
			r.subscribed(1, "b", "cd")
			r.from(1, resume("a"))
			r.want("1 CONNACK accepted")
			r.publish("cd", 0)
			r.want()
			r.publish("ab", 0)
			r.want("1 PUBLISH")
		})
	}
}

// A sleeper may wake up where another client has been meanwhile.
func TestWakeAtAPeerThatAnotherHadMeanwhile(t *testing.T) {
	r := newRig(t, nil)
	r.subscribed(1, "a", "ab")
	r.from(1, mqttsn.Disconnect{HasDuration: true, Duration: 60})
	r.from(1, connect("b"))
	r.want("1 DISCONNECT", "1 CONNACK accepted")
	r.publish("ab", 0)
	r.from(1, mqttsn.Pingreq{ClientID: []byte("a")})
	r.want("1 PUBLISH", "1 PINGRESP")
}

// A CONNECT that is refused for its form is nobody's: it neither moves the client that
// it names nor takes the place of the one at its peer.
func TestRefusedConnectMovesNobody(t *testing.T) {
	r := newRig(t, nil)
	r.subscribed(1, "a", "ab")
	r.subscribed(2, "b", "ab")
	for _, p := range []mqttsn.Connect{
		{ProtocolID: 1}, {ProtocolID: 2, ClientID: []byte("b")}, {ProtocolID: 2, ClientID: []byte("c")},
		{ProtocolID: 1, ClientID: make([]byte, 60000)},
	} {
		r.from(1, p)
		r.want("1 CONNACK not supported")
	}
	r.publish("ab", 0)
	r.want("1 PUBLISH", "2 PUBLISH")
	if n := r.gateway.Stats().Dropped["unexpected_packet"]; n != 4 {
		t.Errorf("%d packets counted as unexpected, want 4", n)
	}
}

// After a stall one batch holds what a client sent without an answer and the CONNECT
// that it sent in the end. It is not told to CONNECT after it has.
func TestConnectInOneBatchWithWhatCameBefore(t *testing.T) {
	r := newRig(t, nil)
	r.from(1, mqttsn.Pingreq{}, connect("a"))
	r.want("1 CONNACK accepted")
	r.from(2, mqttsn.Pingreq{})
	r.want("2 DISCONNECT")
}
