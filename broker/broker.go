// Package broker is the seam between the gateway and MQTT.
//
// A [Broker] is whatever completes the bridge: our own broker in this process, or a
// connection to one elsewhere. A [Conn] is one client's part of it. The gateway asks
// with a [Request] and is answered with an [Event]; both carry a Token that the asker
// chose, and nothing here ever blocks.
//
// Ownership of QoS 1 and 2 messages follows DESIGN.md section 4. A Publish is the
// gateway's until its Answered event comes; a Delivered message is the broker's until
// the gateway has answered it with Ack. An Answered event with a code below 0x80 is a
// promise: the message is safe with the broker as soon as the event's Mark is durable.
//
// # What survives a crash
//
// A Broker that has a [store.Store] shares it with the gateway, so that one [store.Mark] is
// enough to say when all is durable that something depends on. An event that promises
// something carries the mark of what it promises; the gateway goes on at once, and holds
// back what it sends to the client until the mark is durable. What a client's session has
// to remember together with a message travels with the request (Request.With), so that a
// crash leaves both or neither.
package broker

import (
	"context"
	"errors"
	"time"

	"mqttsn-gateway/gateway/store"
)

// ErrBusy says that a request was not taken because a queue is full. No event follows.
var ErrBusy = errors.New("broker: busy")

// ErrClosed says that a request was not taken because the Conn is closed or not
// connected. No event follows.
var ErrClosed = errors.New("broker: connection is closed")

// Message is an application message. A Message that came with an Event is shared
// between receivers: nobody changes it.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte // 0, 1 or 2
	Retain  bool
	// Expires is the instant from which on a Delivered message is worth nothing: it is
	// not sent to its client then, unless that has begun. The zero Time means never.
	Expires time.Time
}

// UserProperty is a name and a value that an MQTT 5 subscriber gets with a message. Both
// are UTF-8 without NUL, and shorter than 65,536 octets.
type UserProperty struct {
	Name, Value []byte
}

// Principal is on whose behalf a client acts. Rights are given to it, and a broker elsewhere
// may be shown it.
type Principal struct {
	// User is the user name; "" is an anonymous client.
	User string
	// Identity is the name that the client has proven by a key or certificate, "" if none.
	// What it leaves with the broker, its session among it, is out of reach for all who
	// prove another one, or none.
	Identity string
}

// Token ties an answer to what it answers. The gateway chooses the tokens of its
// requests, the broker those of its deliveries; the two spaces are separate. The token
// of a QoS 1 or 2 delivery names one message of its client and is not used for another,
// unlike an MQTT packet identifier, which may be as soon as it is free.
type Token uint32

// Op is what a Request asks for.
type Op byte

// The operations of a Request.
const (
	// Connect opens or resumes the client's MQTT session. Answered says with which
	// code, and whether a session was present.
	Connect Op = iota + 1
	// Publish publishes a message. QoS 1 and 2 are Answered once the broker has it;
	// QoS 0 is not answered. QoS 2 is exactly once up to the broker: the gateway asks
	// once per message, and the broker side completes PUBREC, PUBREL, PUBCOMP itself.
	Publish
	// Subscribe subscribes to one filter. Answered carries the granted QoS.
	Subscribe
	// Unsubscribe ends the subscription to one filter, and is Answered.
	Unsubscribe
	// Ack says that the client has taken the Delivered message with that Token, or
	// that it never will (Code 0x80 and above): either way the broker may forget it.
	// Not answered. QoS 0 deliveries are not acknowledged.
	Ack
	// SetWill replaces the will (nil removes it). Not answered.
	SetWill
	// Disconnect ends the connection and forgets the will. Not answered, and no
	// events follow. A session with CleanSession false stays with the broker.
	Disconnect
	// Abandon ends the connection as if the client had been lost: the will is
	// published. Not answered, and no events follow.
	Abandon
	// Persist makes a session that was connected with CleanSession survive a crash of this
	// process all the same, for as long as it is connected: its client is asleep and does
	// not know. Not answered. A Connect after the crash has CleanSession false; what holds
	// of the session's end does not change.
	Persist
)

// Request is one thing that the gateway asks for.
type Request struct {
	Op    Op
	Token Token
	// Topic is the topic of a Publish, the filter of a Subscribe or Unsubscribe.
	Topic string
	// Payload of a Publish is valid only during Do; whoever keeps it copies it.
	Payload []byte
	QoS     byte
	Retain  bool
	// User are the properties of a Publish; with Connect, SetWill and Abandon those of
	// the will, of which the latest count. Only MQTT 5 carries them, and a broker that
	// cannot may leave them out. Nobody ever changes what the slice holds, so whoever
	// keeps it need not copy it.
	User []UserProperty
	// Code of an Ack.
	Code Code
	// CleanSession of a Connect: forget what was stored before, keep nothing after.
	CleanSession bool
	// Will of a Connect or SetWill; nil for none.
	Will *Message
	// As says, with Connect, on whose behalf the client acts.
	As Principal
	// With are changes to the client's own records that belong together with what the
	// request does: with what makes a Publish safe, with what an Ack ends, with the will
	// that an Abandon publishes. A crash leaves all of it, or nothing. If the request fails
	// they are not applied. Their values are valid only during Do. A Broker without a store
	// is given none.
	With []store.Op
	// Mark is set by Do: where With is durable. What is answered has it in its event, too.
	Mark store.Mark
}

// Kind is what an Event tells.
type Kind byte

// The kinds of Event.
const (
	// Answered answers the request with that Token.
	Answered Kind = iota + 1
	// Delivered brings a message for the client. QoS 1 and 2 wait for an Ack with its
	// Token; the broker keeps a bounded number of them un-acknowledged (its receive
	// maximum) and the rest in its own queue. A message is delivered once for as long
	// as the client stays connected here, whatever happens between the gateway and a
	// broker elsewhere. If the client disconnects before the Ack, the same message
	// comes again with the same Token after the next Connect that finds its session.
	Delivered
	// Closed says that the connection has ended for good and why: CodeTakenOver when
	// the client id was connected elsewhere. A broker that is merely unreachable for a
	// while says nothing. The will has been dealt with.
	Closed
)

// Event is one thing that the broker tells.
type Event struct {
	Kind  Kind
	Token Token
	Code  Code
	// QoS granted by a Subscribe; QoS of a delivery, which may be below that of its Message.
	QoS byte
	// Retain of a delivery: the message is a retained one, sent for a new subscription.
	// It stands here, not in the shared Message.
	Retain bool
	// SessionPresent answers Connect: the broker had a session for this client.
	SessionPresent bool
	// Mark is where that is durable which an event promises: what was asked for is done, or
	// a Delivered message will have the same Token after a crash. Nobody beyond this
	// process may be told before.
	Mark    store.Mark
	Message *Message
}

// Receiver takes the events of one Conn. Receive never blocks and does no work on the
// caller's time: it queues the event for the client's owner, who is set to work by the
// wake function of Serve, or by itself if Receive was called within its own Do.
type Receiver interface {
	Receive(Event)
}

// Conn is one client's connection to the broker. Its methods are called by one
// goroutine at a time.
type Conn interface {
	// Do asks for something. It never blocks: ErrBusy or ErrClosed say that nothing
	// was asked. Receive may be called before Do returns.
	Do(*Request) error
}

// Broker completes the bridge.
type Broker interface {
	// Open makes a Conn for a client. It dials nothing and remembers nothing before
	// the Connect request; after Disconnect or Abandon the Conn may be used for
	// another Connect.
	Open(clientID string, to Receiver) Conn

	// Flush sends on what requests since the last Flush have gathered. The gateway
	// calls it after each batch.
	Flush()

	// Serve runs the broker side until ctx is done. The gateway has taken leave of its
	// clients by then: whose connection is still open has a session that the next process
	// goes on with, so it ends without publishing the will, and the session stays. Serve
	// calls wake after it has called Receive from a goroutine of its own, once per batch,
	// with no lock held.
	Serve(ctx context.Context, wake func()) error

	// Up reports whether clients can be served now.
	Up() bool
}
