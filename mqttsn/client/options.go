package client

import (
	"time"

	"mqttsn-gateway/mqttsn"
)

// Options are the settings of a Client. The zero value of a field means its default,
// and a value outside its range the nearest within.
type Options struct {
	// ClientID names the client to the gateway: UTF-8, by the letter of the
	// specification 1 to 23 characters. It is needed to connect, not to publish with
	// QoS -1.
	ClientID string

	// Tretry is the time after which an unanswered request is sent again. Default
	// 10 s; the specification suggests 10 to 15 s for radios [SN-7.2].
	Tretry time.Duration
	// Nretry is how often an unanswered request is sent again. Default 3; negative: not
	// at all.
	Nretry int
	// Twait is how long nothing is published after the gateway has answered a PUBLISH
	// with congestion; Publish fails with that return code meanwhile [SN-6.6]. Default
	// 5 min 1 s; negative: no time at all.
	Twait time.Duration

	// Inflight is how many QoS 1 and 2 messages may wait for their acknowledgement at
	// once: 1 to 32767. Default 1, which is all that the specification allows a client
	// [SN-6.6]; gateways usually take more.
	Inflight int
	// Buffer is how many messages wait in the channel of Messages. Default 64. When it
	// is full, QoS 0 messages are dropped and QoS 1 and 2 messages left to the gateway.
	Buffer int
	// MaxTopics is how many topic ids the client keeps. Default 4096; more are refused
	// with congestion.
	MaxTopics int
	// MaxPacket is the largest packet that can be received, in octets. Default 65535,
	// allocated at once.
	MaxPacket int

	// Predefined are the pre-defined topic ids that the client knows. A PUBLISH with
	// another is refused as the specification asks [SN-6.7]. If nil, all are taken, and
	// Message.Topic is empty.
	Predefined map[uint16]string

	// NoPing leaves keeping the connection alive to the caller.
	NoPing bool

	// OnMessage takes messages in place of the channel of Messages. It is called by the
	// reader, which reads nothing until it returns, and must call nothing of the Client
	// but Hold. The payload is valid during the call only.
	OnMessage func(Message)
	// OnLost is told when the connection to the gateway has ended unasked: by its
	// DISCONNECT, for want of an answer to PINGREQ, or because the network connection
	// failed. It must not block or call the Client.
	OnLost func(error)
	// OnError is told of what concerns no call: a packet that cannot be decoded, a
	// QoS 0 message that was refused or dropped, a port that nobody listens on. It must
	// not block or call the Client.
	OnError func(error)
	// Trace sees each datagram sent and received. It must not block, keep or change it.
	Trace func(sent bool, datagram []byte)
}

func (o *Options) setDefaults() {
	setDefault(&o.Tretry, 10*time.Second)
	setDefault(&o.Nretry, 3)
	setDefault(&o.Twait, 5*time.Minute+time.Second) // "greater than 5 minutes" [SN-7.2]
	setDefault(&o.Inflight, 1)
	setDefault(&o.Buffer, 64)
	setDefault(&o.MaxTopics, 4096)
	setDefault(&o.MaxPacket, mqttsn.MaxPacket)
	o.Nretry = max(o.Nretry, 0)
	o.Inflight = min(max(o.Inflight, 1), 32767)
	o.Buffer = max(o.Buffer, 1)
	o.MaxPacket = min(max(o.MaxPacket, 2), mqttsn.MaxPacket)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
