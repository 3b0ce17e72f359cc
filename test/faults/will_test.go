package faults

import (
	"testing"

	"mqttsn-gateway/mqttsn"
)

// TestWillOutlivesAKill: the will of a client that does not come back after the gateway
// was killed is published, once.
func TestWillOutlivesAKill(t *testing.T) {
	beside(t)
	g := newGateway(t)
	g.start()
	if found := dieWithTheGateway(t, g); found != "" {
		t.Error(found)
	}
}

// dieWithTheGateway tells what was wrong, if anything was.
func dieWithTheGateway(t *testing.T, g *gateway) (found string) {
	l := NewLedger()
	l.Subscribe("listener", 0, 1)
	heir := listen(t, l, g.mqtt, "listener", "will/#")
	eventually(t, "the heir has subscribed", heir.ready.Load)
	s := newSleeper(t, l, g.udp, "testator")
	const topic = "will/testator"
	sequence, payload := l.Attempt(1, topic, 2)
	for step, err := range []error{
		s.ask(&mqttsn.Connect{Will: true, ProtocolID: mqttsn.ProtocolID, Duration: 2, ClientID: []byte(s.id)}, is[*mqttsn.WillTopicReq]),
		s.ask(&mqttsn.WillTopic{QoS: mqttsn.QoS2, Topic: []byte(topic)}, is[*mqttsn.WillMsgReq]),
		s.ask(&mqttsn.WillMsg{Message: payload}, is[*mqttsn.Connack]),
	} {
		if err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
	}
	l.Acknowledge(1, sequence)
	g.kill()
	g.start()
	within(patience/4, func() bool { return l.Missing() == 0 })
	if v := l.Judge(); !v.Good() {
		return v.String()
	}
	return ""
}
