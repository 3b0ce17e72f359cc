package embedded

import (
	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/planted"
	"mqttsn-gateway/gateway/store"
)

// reasonString says in a packet of a type a little more than its reason code does; empty
// for nothing.
func reasonString(in mqtt.Type, code broker.Code) string {
	switch code {
	case broker.CodeNotAuthorized:
		switch in {
		case mqtt.TypePuback, mqtt.TypePubrec:
			return "there is no right to publish to this topic"
		case mqtt.TypeSuback:
			return "there is no right to any topic of the filter"
		}
		return "topics below $SYS are the broker's own"
	case broker.CodeTopicName, broker.CodeTopicFilter:
		return "more levels than max_topic_levels"
	case broker.CodeQuota:
		return quotas[in]
	case broker.CodeTakenOver:
		return "the client id has connected again"
	case broker.CodeShuttingDown, broker.CodeServerUnavailable:
		return "the broker is shutting down"
	case broker.CodePacketTooLarge:
		return "the answer is above the client's maximum packet size"
	case codeClientID:
		return "a client id is needed"
	case codeAuthenticationMethod:
		return "enhanced authentication is not offered"
	case broker.CodeServerBusy:
		return "what was sent does not become durable"
	case codeKeepAliveTimeout:
		return "nothing came for one and a half times the keep alive"
	case codeRetainNotSupported:
		return "nothing is retained here"
	case codeQoSNotSupported:
		return "the QoS is above max_qos"
	case codePacketIDNotFound:
		return "there is no message with this packet identifier"
	}
	return ""
}

// quotas are what is exhausted, by the packet that says so.
var quotas = map[mqtt.Type]string{
	mqtt.TypeConnack: "max_sessions or max_session_bytes_total is reached",
	mqtt.TypePuback:  "max_retained_messages, max_retained_bytes or max_queued_bytes_total is reached",
	mqtt.TypePubrec:  "max_retained_messages, max_retained_bytes, max_queued_bytes_total or max_session_bytes_total is reached",
	mqtt.TypeSuback:  "max_subscriptions, max_shared_subscriptions, max_subscription_bytes or max_session_bytes_total is reached",
}

// fitting is a reason string for a packet of the client's that is size octets long
// without it, or nil where the two might be larger than the client takes [MQTT-3.2.2-19]
// [MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.6.2-2] [MQTT-3.7.2-2] [MQTT-3.9.2-1]
// [MQTT-3.14.2-3].
func (c *client) fitting(why string, size int) []byte {
	const around = 8 // identifier, lengths
	if why == "" || c.version != mqtt.V5 || c.maxPacket > 0 && size+len(why)+around > c.maxPacket {
		return nil
	}
	return []byte(why)
}

// reasons are the properties of an acknowledgement of a type, size octets long without
// them. A client that does not want to know gets none [MQTT-3.1.2-29].
func (c *client) reasons(in mqtt.Type, code broker.Code, size int) (p mqtt.AckProperties) {
	if code.Failed() && !c.unreasoned {
		p.ReasonString = c.fitting(reasonString(in, code), size)
	}
	return p
}

// disconnectSize is how long a DISCONNECT is without properties.
const disconnectSize = 3

// ackSize is how long a PUBACK, PUBREC, PUBREL or PUBCOMP is without properties. A CONNACK
// is longer, so that a client that got one takes them all.
const ackSize = 5

// The answers leave when all is durable up to the mark, see promises.

func (c *client) sendPuback(id uint16, code broker.Code, mark store.Mark) {
	if b, ok := c.out.promise(ackPromise, mark); ok {
		p := mqtt.Puback{PacketID: id, Code: mqtt.Code(code), Properties: c.reasons(mqtt.TypePuback, code, ackSize)}
		c.out.done(p.Append(b, c.version))
	}
}

func (c *client) sendPubrec(id uint16, code broker.Code, mark store.Mark) {
	if b, ok := c.out.promise(ackPromise, mark); ok {
		p := mqtt.Pubrec{PacketID: id, Code: mqtt.Code(code), Properties: c.reasons(mqtt.TypePubrec, code, ackSize)}
		c.out.done(p.Append(b, c.version))
	}
}

func (c *client) sendPubrel(id uint16, code broker.Code, mark store.Mark) {
	if planted.PubrelBeforeReleased {
		mark = 0
	}
	if b, ok := c.out.promise(ackPromise, mark); ok {
		p := mqtt.Pubrel{PacketID: id, Code: mqtt.Code(code), Properties: c.reasons(mqtt.TypePubrel, code, ackSize)}
		c.out.done(p.Append(b, c.version))
	}
}

func (c *client) sendPubcomp(id uint16, code broker.Code, mark store.Mark) {
	if b, ok := c.out.promise(ackPromise, mark); ok {
		p := mqtt.Pubcomp{PacketID: id, Code: mqtt.Code(code), Properties: c.reasons(mqtt.TypePubcomp, code, ackSize)}
		c.out.done(p.Append(b, c.version))
	}
}

// sendCodes answers a SUBSCRIBE or UNSUBSCRIBE. The reason string is that of the first
// filter that was refused.
func (c *client) sendCodes(in mqtt.Type, id uint16, codes []mqtt.Code, mark store.Mark) {
	var p mqtt.AckProperties
	for _, code := range codes {
		if code.Failed() {
			p = c.reasons(in, broker.Code(code), answerHead+len(codes))
			break
		}
	}
	b, ok := c.out.promise(ackPromise, mark)
	switch {
	case !ok:
	case in == mqtt.TypeSuback:
		answer := mqtt.Suback{PacketID: id, Codes: codes, Properties: p}
		c.out.done(answer.Append(b, c.version))
	default:
		answer := mqtt.Unsuback{PacketID: id, Codes: codes, Properties: p}
		c.out.done(answer.Append(b, c.version))
	}
}

// answerHead is the most that a SUBACK or UNSUBACK without properties has before its
// codes: the fixed header, the packet identifier and a property length.
const answerHead = 5 + 2 + 1

// takesAnswer reports whether the client takes the answer to a SUBSCRIBE or UNSUBSCRIBE
// with n filters. If not, the connection ends: the answer may neither be left out
// [MQTT-3.8.4-1] [MQTT-3.10.4-4] nor be sent [MQTT-3.1.2-24]. So nothing is done that the
// client would not learn of.
func (c *client) takesAnswer(n int) bool {
	if c.maxPacket == 0 || answerHead+n <= c.maxPacket {
		return true
	}
	answer := mqtt.Suback{PacketID: 1, Codes: make([]mqtt.Code, n)}
	if len(answer.Append(nil, c.version)) <= c.maxPacket {
		return true
	}
	c.fail(broker.CodePacketTooLarge, "answer", "is above the client's maximum packet size")
	return false
}
