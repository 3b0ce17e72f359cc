package session

import (
	"slices"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// A sleeper with a clean session comes back and says its will again. It has to repeat its
// CONNECT: the session goes on all the same, and nothing that waits for it is lost.
func TestSleeperRepeatsConnect(t *testing.T) {
	o := DefaultOptions()
	o.Durable = true
	s := New("d", &o, 1)
	now := time.Unix(1e9, 0)
	var fx Effects
	var asked []broker.Op
	step := func(p mqttsn.Packet) {
		now = now.Add(time.Second)
		fx.Reset()
		s.Packet(now, p, &fx)
		for i := 0; i < len(fx.Requests); i++ {
			r := fx.Requests[i]
			asked = append(asked, r.Op)
			if r.Op == broker.Connect {
				s.Broker(now, broker.Event{Kind: broker.Answered, Token: r.Token}, &fx)
			}
		}
	}
	connect := mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, Duration: 60, ClientID: []byte("d")}
	connect.CleanSession = true
	step(&connect)
	step(&mqttsn.Disconnect{HasDuration: true, Duration: 600})
	connect.CleanSession, connect.Will = false, true
	asked = nil
	step(&connect)
	step(&connect)
	step(&mqttsn.WillTopic{Topic: []byte("w")})
	step(&connect)
	step(&mqttsn.WillTopic{Topic: []byte("w")})
	step(&mqttsn.WillMsg{Message: []byte("gone")})
	step(&connect) // a copy that was on its way
	step(&mqttsn.WillTopic{Topic: []byte("w")})
	step(&mqttsn.WillMsg{Message: []byte("gone")})
	if s.State() != Active || slices.Contains(asked, broker.Disconnect) || slices.Contains(asked, broker.Connect) {
		t.Errorf("%v, the broker was asked for %v", s.State(), asked)
	}
}
