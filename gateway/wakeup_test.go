package gateway

import (
	"testing"

	"mqttsn-gateway/mqttsn"
)

// The first QoS -1 message waits for the broker connection. Once that is there, the
// clients of this gateway get the message at once, and not when something else happens.
func TestFirstQoSMinusOneReachesAClientHere(t *testing.T) {
	r := newRig(t, nil)
	r.subscribed(1, "a", "ab")
	r.from(2, mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")})
	r.want("1 PUBLISH")
}
