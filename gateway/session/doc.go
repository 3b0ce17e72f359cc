// Package session is the core of the gateway: one MQTT-SN 1.2 client as a pure state
// machine. It has no clock, goroutine, lock, log or I/O. Something happens, the session
// is told, and what it wants done stands in an [Effects] value.
//
// # States
//
// The states are those of the specification's section 6.14; the steps of the connect
// procedure of section 6.2 are states of their own.
//
//	                 CONNECT, Will=1
//	            +----------------------> AwaitingWillTopic <--+
//	            |                              | WILLTOPIC    | CONNECT
//	            |              empty WILLTOPIC v              | again
//	            |                   +--- AwaitingWillMsg -----+
//	            |                   |          | WILLMSG
//	            |   CONNECT, Will=0 v          v
//	+----> Disconnected --------> Connecting <-+     a CONNECT while the broker's
//	|      Lost                     | the broker     connection is open skips this state
//	|       ^  ^                    | has accepted
//	|       |  | silent too long    v
//	|       |  +----------------- Active <---------------------------+
//	|       |                     |    ^ CONNECT                     | CONNECT
//	|       | silent    DISCONNECT|    |            PINGREQ          |
//	|       | too long   Duration v    |      +-----------------> Awake
//	|       +-------------------- Asleep -----+                      |
//	|                               ^  PINGRESP sent, or no answer   |
//	|                               +--------------------------------+
//	| DISCONNECT, from any state: the session stays if CleanSession was not set
//	+------------------------------------------------------------------
//
// In Disconnected and Lost a session has no broker connection. It keeps its topic ids,
// its will, its subscriptions and open QoS 2 exchanges until it expires.
//
// # Duties of the caller
//
//  1. Find the session. CONNECT and PINGREQ carry a ClientID, all other packets are known
//     by their peer. What comes from peers that no session stands for, QoS -1 among it,
//     is the caller's own business.
//  2. Step it. Call [Session.Packet], [Session.Broker] or [Session.Expire], one at a time,
//     with a time that never runs backwards. Call [Session.Moved] and [Session.SetPath]
//     before the first packet from another peer, and [Session.Heard] before each packet.
//  3. Do the [Effects], before the next step of any session that uses the same one: first
//     the requests in order, whose payloads alias the packet; then the records, in one
//     piece; then the packets in order. A request that the broker does not take, of those
//     that are answered, is answered by the caller at once with an Answered event that has a
//     failure code; what is With one that is not answered is applied by the caller then. If
//     Gone is set, forget the session.
//  4. Ask for [Session.Deadline] after each step, and call Expire when it has come.
//  5. With a store, hold the packets of a step, and all later ones of the session, until
//     what the step has applied is durable: the records, what is With its requests, and
//     what the broker has promised up to Effects.Mark. At the start call [Load], and
//     [Session.Resume] for each session before anything else is done with it.
//
// # What survives a crash
//
// Everything that a client may rely on without saying it again: the state, as far as it is
// not a step of the connect procedure, the will, topic ids, subscriptions, QoS 2 messages
// that wait for PUBREL, and the MsgId of the QoS 2 message that the client is being given.
// The messages for the client are the broker's, and come again. Sessions that outlive their
// connection have records from their first CONNACK on, and so has any session of a client
// that sleeps, from its first DISCONNECT with a Duration. A ping, a wake, or a QoS 0 or 1
// message changes none.
//
// # Where to find what
//
// To follow a packet, start at Session.Packet: each packet has a method packetX in the
// file of its chapter. proof.go bounds what goes to addresses that may be forged. Only state.go changes the state. durable.go and owed.go say what a step
// has changed for the store, record.go has the form of the records, load.go reads them, and
// resume.go goes on from there. INTERPRETATION.md says how the
// package reads what the specification leaves open; testdata holds each procedure as a
// scenario.
package session
