package gateway

import (
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// A connection that has ended owes no answers; a shutdown would wait for them.
func TestNoAnswersAfterClosed(t *testing.T) {
	r := newRig(t, nil)
	r.subscribed(1, "a", "ab")
	r.broker.Hold(broker.Answered)
	r.from(1, mqttsn.Publish{QoS: 1, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("cd"), MsgID: 7})
	if n := r.gateway.Stats().Unanswered; n != 1 {
		t.Errorf("%d requests are unanswered, want 1", n)
	}
	r.broker.Kick("a", broker.CodeTakenOver)
	r.gateway.settle()
	if n := r.gateway.Stats().Unanswered; n != 0 {
		t.Errorf("%d requests are unanswered after the connection has ended", n)
	}
}

// Nobody answers for a QoS 0 message, so one that the broker does not take is counted.
func TestQoS0ThatTheBrokerDoesNotTake(t *testing.T) {
	r := newRig(t, nil)
	r.subscribed(1, "a", "ab")
	r.broker.BusyAfter(0)
	r.from(1, mqttsn.Publish{TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")})
	r.want()
	if n := r.gateway.Stats().Dropped["qos0_broker"]; n != 1 {
		t.Errorf("%d messages counted as dropped, want 1", n)
	}
}
