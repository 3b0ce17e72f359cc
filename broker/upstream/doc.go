// Package upstream completes the bridge with an MQTT 5 broker elsewhere, in transparent
// mode: every client has a TCP connection of its own, over which it appears to the broker
// under its own client id.
//
// # From a request to the broker and back
//
//  1. [conn.Do] passes a request to the client's session, which appends the packet to its
//     write buffer or, if the broker's receive maximum is used up, to its queue.
//
//  2. [Broker.Flush] writes, in one piece for each session with something to write, what
//     the connection takes at once; the rest is left to a goroutine that ends when all is
//     written. A batch is one write per client.
//
//  3. The reader, the one goroutine that an idle client has, decodes what the broker
//     sends and tells the session: [session.take]. Events go to the gateway's Receiver
//     under the session's lock; when nothing more has been received the reader calls
//     wake, and then Flush for what that led to.
//
//  4. [Broker.ticks] does all that time demands: keep alive, retries, deadlines.
//     [dialer] decides who may connect when, [gate] whether it makes sense to try, and
//     where: of several brokers at the one that [Broker.probe] has found.
//
//  5. [papers] are what a connection is made with: what the client shows to the broker, and
//     what it has to see of it. A reload replaces them for connections to come; [shunned]
//     keeps clients that the broker has refused from asking again at once. Package remote
//     dials, over TLS and WebSocket, too. Such a connection takes nothing without waiting,
//     so all that is written there is left to the goroutine of 2.
//
// Locks are taken in this order: session, then one of dialer, gate, Broker.mu and
// Broker.dirtyMu. Receivers are called with the session's lock held, wake with none.
//
// # Promises
//
// This is said of durability "through"; see Spool for the other one.
//
// A session lives from Connect to Disconnect, Abandon or Closed, through any number of
// TCP connections. When one is lost and the broker still has the session, all exchanges
// go on under their packet identifiers: PUBLISH with DUP, PUBREL; so QoS 2 is exactly
// once for as long as this process lives. When the broker has lost the session, the
// subscriptions are made again before anything else; QoS 1 messages without a PUBACK and
// QoS 2 messages without a PUBREC are published again; a QoS 2 message with a PUBREC is
// answered as a success and counted as uncertain, since sending it again could deliver it
// twice. A QoS 2 message is answered after PUBCOMP: before it has the PUBREL a broker may
// still drop it together with the session.
//
// Acknowledgements to the broker follow the gateway's, in the order of arrival. A message
// that comes again because a connection was lost before the gateway has acknowledged it
// is not passed on again. One whose PUBACK was lost with the connection is: its
// identifier may already belong to another message with the same content, and QoS 1 may
// duplicate but not lose. QoS 0 messages are not kept for a connection that is not there.
//
// # Spool
//
// With a store, and durability "spool", a [spool] stands between the gateway and each
// client's session. It belongs to the client and outlives sessions and the process.
//
// Up: Publish of QoS 1 and 2 is one change of the store, the message together with
// Request.With, and answered at once. The message goes to the broker under a packet
// identifier that follows from its number, so that it is the same after a crash. QoS 1 goes
// at once. A QoS 2 PUBLISH goes once its record is durable, PUBREL once it is durable that
// PUBREC has come (of the record nothing but that is left then); PUBACK and PUBCOMP delete
// it. So a crash at any point repeats a packet, and never begins a second exchange. A
// spool is in memory as its numbers; the messages themselves are while they are on their
// way, [spoolWindow] of them at most, and none without a connection. The [feeder] reads them
// when their turn comes, since that may have to wait for the disk: those of an outage at
// DrainRate, all others as fast as the broker answers. One client's messages stay in order,
// and do not wait for those of another one.
//
// What the broker refuses for good becomes a dead letter; what it refuses for the moment is
// tried again with a pause, by itself until it is taken. A client that leaves, or never
// comes back after a restart, has its spool drained all the same by a session without a
// Conn; a Connect that comes meanwhile lets that one finish what has been begun, and goes on
// with the rest. If the client is connected elsewhere its connection there is taken away for
// that: so it is done after a minute, and then ever more rarely.
//
// Down: a QoS 2 message and its identifier are durable before PUBREC, and the release of
// the identifier before PUBCOMP. QoS 1 messages are held un-acknowledged, and put into the
// store when the receive maximum has been used up for [shelveAfter]: their client sleeps. The
// gateway is given both in the order of arrival, with the low 32 bits of their number as
// Token, which is the same after a crash. Its Ack deletes them together with what comes
// with it. A QoS 1 message that was not kept comes again from the broker, as another one.
//
// While the broker is away Connect succeeds, without a session present; subscriptions wait
// for the broker as requests. Subscriptions that were made are in the store, to be made
// again when the broker loses the session after a crash of ours.
//
// At [store.Full] nothing new is taken, with [broker.CodeQuota]; QoS 1 and 2 messages from the
// broker are then held there. What was spooled is drained after a change to "through" as well.
//
// # Wills
//
// No CONNECT carries a will. A client may change its will at any time [SN-6.4], and MQTT
// ties the will to the CONNECT, so the gateway keeps it and publishes it on Abandon, with
// its QoS, before the DISCONNECT (the second way of the protocol reference, 3.11). It also means that
// a broken connection between gateway and broker does not set off the wills of clients
// that are well. The limit: wills die with this process, and after WillTimeout without a
// broker. With a spool a will that is published is safe once Abandon's mark is durable.
//
// # paho.golang
//
// The wire format is that of paho.golang's packets (wire.go). Its Client, with
// session/state under it, cannot keep the promises above (v0.23.0):
//
//   - CONNACK without session present empties the state: the waiters of un-acknowledged
//     messages are never answered, and whether a PUBREC had come is forgotten
//     (state.ConAckReceived, clean).
//   - Requests block: for the receive maximum, with one goroutine each, in no order
//     (sendQuota), then for the answer, until a time limit after which the message is
//     still in the state and will be sent (Client.PacketTimeout).
//   - A PUBREC that is handled while the connection is lost writes to a nil connection
//     (state.PacketReceived reads State.conn without its lock).
//   - An Ack after the connection was lost is lost with the tracker's list, and on the
//     next connection the message is passed on again (acksTracker.reset).
//   - The remaining length is believed: up to 4 GiB are allocated before a single octet
//     of the body has come, and a length that never ends is read for ever (ReadPacket).
//   - It costs 3 goroutines and about 17 KiB per idle connection, a fourth one that wakes
//     up 20 times a second with manual acknowledgement, and one system call per packet.
package upstream
