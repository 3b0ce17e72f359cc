package upstream

import (
	"strings"
	"time"

	"mqttsn-gateway/broker"
)

// limits is what a broker's CONNACK allows.
type limits struct {
	receiveMaximum int
	maxPacket      int // 0: no limit
	maxQoS         byte
	noRetain       bool
	noWildcards    bool
	noShared       bool
	keepAlive      time.Duration // 0: ours
	expiry         time.Duration // negative: as asked for
}

// refuses is why the broker must not be sent a request at all, by its own CONNACK.
func (l *limits) refuses(r *request) broker.Code {
	const (
		sharedNotSupported    = 0x9E
		wildcardsNotSupported = 0xA2
	)
	switch {
	case r.state == released || r.op == broker.Unsubscribe:
		return 0
	case r.op == broker.Publish:
		return l.refusesPublish(r.qos, r.retain, len(r.frame))
	case l.noShared && strings.HasPrefix(r.filter, "$share/"):
		return sharedNotSupported
	case l.noWildcards && strings.ContainsAny(r.filter, "+#"):
		return wildcardsNotSupported
	}
	return 0
}

func (l *limits) refusesPublish(qos byte, retain bool, octets int) broker.Code {
	const (
		retainNotSupported = 0x9A
		qosNotSupported    = 0x9B
	)
	switch {
	case l.maxPacket > 0 && octets > l.maxPacket:
		return broker.CodePacketTooLarge
	case qos > l.maxQoS:
		return qosNotSupported
	case retain && l.noRetain:
		return retainNotSupported
	}
	return 0
}
