// Package embedded is our own MQTT broker, in this process. It implements the seam of
// package broker for devices, without encoding anything in between, and serves ordinary
// MQTT 3.1, 3.1.1 and 5 clients over TCP and unix sockets. A client id is one client with
// one session, whichever protocol and listener it comes in by.
//
// # The way of a message
//
// A publisher, [broker.Conn] or client, asks topics for the route of the topic and calls
// Broker.publish. That offers the message to the session of each target: to an MQTT
// client it is encoded into the output of its connection, to a device it is handed as it
// is, and QoS 1 and 2 are put into the session's queue first. When publish returns, the
// message is in the queue of every session that is to get it, and only then is the
// publisher answered. Order is kept because a publisher waits for publish to return, and
// because a session's lock is held while it gets a message [MQTT-4.6.0-6].
//
// Nothing here blocks: outputs are written by Broker.Flush, which does not wait, after a
// batch of work of the gateway's or of a reader's. With a store, what an MQTT client is
// promised is held at its output until it is durable, and sent by Broker.keepPromises.
//
// # What survives a crash
//
// With a store: retained messages, and sessions that outlive their connection, or that
// broker.Persist has named, with their subscriptions, wills, queues and the identifiers of
// QoS 2 messages both ways. Memory goes ahead; what was applied is there after a crash once
// its [store.Mark] is durable, and nobody is told before.
//
// A publish is applied in one step: its deliveries, one record of the message if more than
// one refers to it, the retained message and what it replaces, the identifier of an MQTT
// client's QoS 2 message, and what a device's request carries along. A delivery stands in
// its queue before that, but is not sent, so that no acknowledgement comes before its
// record. A message for one receiver is applied while its session is locked, another one
// when it is in all queues.
//
// A will is a record of its own, which is deleted in the step that publishes it. One whose
// client was connected when the process ended is published a minute after the restart, if
// the client has not come back, or with its delay if that is longer; so is one that was just
// about to be published. Who comes back replaces it.
//
// A record is never deleted by a number that may stand for another one: numbers are given
// once, across restarts, see numbers. Whoever deletes one late, because its session has
// ended while a publish was under way, does no harm; what a crash leaves of such a session
// has a number from before the next one, and is deleted at the start.
//
// A QoS 1 message whose packet identifier was not known yet when it was queued comes again
// under another one after a crash, without DUP. Messages with QoS 0 do not survive, nor do
// retained messages that a new subscription has not been given yet.
//
// # Locks
//
// In this order, each held for a short time and never while wake is called:
//
//	ledger.inbound → Broker.retaining → Broker.mu → session.mu → sys.mu → clients.mu →
//	one of topics.mu, retained.mu, deadlines.mu, output.mu, shared.mu → numbers.mu →
//	dirty.mu, the store's own; and from session.mu the receiver's own
//
// limited.mu and journal.mu stand alone: they are taken, and the log is written, with no
// other one held. lookups.turn comes before all of them and may be held for long: only the
// reader of an MQTT client's connection waits for it, with nothing locked.
//
// # What is ours to decide
//
// QoS 2 from a client is passed on when PUBLISH comes, and its identifier kept with the
// session until PUBREL: method B of MQTT 3.1.1, figure 4.3. Any PUBLISH that has it until
// then is the same message, whatever DUP says [MQTT-4.3.3-10]. PUBREC is sent after the
// message is in its subscribers' queues. A device's QoS 2 message comes once through the
// seam and needs no identifier.
//
// A client with overlapping subscriptions gets a message once, with the highest granted
// QoS and all subscription identifiers [MQTT-3.3.4-2] [MQTT-3.3.4-4].
//
// A message for a client whose queue is full is dropped for that client, the newest one
// as with Mosquitto, and counted as queue_full; or as broker_full, if too much waits for
// all clients together. Nothing else that was acknowledged to its publisher is dropped,
// but for message expiry, for the client's own maximum packet size, for a topic that the
// client's mount point does not show, and when the session ends; each is counted, see
// [Stats].
//
// Without MQTT 5, a publish that is not allowed is acknowledged and dropped: the
// connection goes on [MQTT 3.1.1, 3.3.5].
//
// An acknowledgement that does not belong to its message's QoS, or not yet, ends the
// connection; one for no message is ignored, or answered if it can be.
//
// A client that does not take a CONNACK for its size is refused; one that does not take a
// SUBACK or UNSUBACK is disconnected before anything is done. Everything else that is no
// message fits, without its reason string if need be [MQTT-3.1.2-24].
//
// Topic aliases to a client stand for the first topics that it gets on a connection and
// never change. The topics of its own are bounded in number and octets.
//
// Whether a payload is the text that its format indicator promises is not checked
// [MQTT 5, 3.3.2.3.2]; Mosquitto does not, either.
//
// The will of a client whose connection is taken over is published [MQTT-3.1.2-8], unless
// it has a delay and the session goes on. When the broker itself shuts down, it publishes
// no wills.
//
// A message for a shared subscription goes to the next member of the group that is
// connected and has room in its queue; with none, to the queue of the next member. All
// versions and devices can share, as with Mosquitto.
//
// A session belongs to the mount point of the listener that it was made at. Below another
// one its subscriptions would stand for topics that its client does not mean, so that a
// client that connects by a listener with another mount point is told that there is no
// session, and the old one ends; devices have no mount point.
//
// Rights see the topics of the broker, mount points included. They are asked for when a
// message goes on, not when a subscription is made: but a filter that can never lead to
// anything is refused, where Mosquitto accepts it. A retained message whose publisher has lost
// the right to it stays, unseen, until it is replaced.
//
// A session is its owner's: the identity of a device or the user of an MQTT client. Mosquitto
// lets every user take every session, see mayTake.
//
// Connections that have not sent CONNECT are bounded apart from the others. Of too many,
// the oldest one goes; connections that come too fast wait, and so do clients that send
// packets too fast, see [Options].
//
// A keep alive above max_keepalive is shortened for MQTT 5 clients, who are told. Others
// are refused with "identifier rejected", as with Mosquitto.
//
// Enhanced authentication is not offered: whoever asks for it is refused [MQTT-4.12.0-1].
package embedded
