// Package gateway is the shell around the pure sessions of gateway/session: it owns
// them in shards, finds the session that a datagram is for, keeps their deadlines, and
// performs what they decide.
//
// # One packet, from socket to broker and back
//
//  1. A link's reader calls [intake.receive] with a batch of datagrams. It looks at the
//     frame header, takes the packet out of a forwarder's frame if there is one, finds
//     the client by peer, or by the ClientID that CONNECT and a waking PINGREQ carry, or
//     by the identity that the peer has proven, and sorts the batch by shard.
//  2. [shard.receive] takes the shard, decodes each datagram, and steps the client's
//     session: session.Packet.
//  3. [shard.apply] performs the effects, here and nowhere else: requests to the client's
//     broker.Conn, datagrams to its link, counters, the next deadline.
//  4. The broker answers or delivers through [client.Receive], which puts the event into
//     the shard's inbox. Whoever holds the shard, or enters it next, drains the inbox:
//     session.Broker, then apply as before.
//  5. Before the shard is left its outgoing datagrams leave as one batch per link, and
//     afterwards [Gateway.settle] lets other shards and the broker have what came of it.
//
// # Who runs a shard
//
// No goroutine belongs to a shard. Whoever brings work (a link's reader, a broker
// goroutine, a timer) takes the shard's lock, runs the work to completion and leaves.
// Nothing is handed from goroutine to goroutine per message, and nothing that runs
// inside a shard may block: Link.Send and broker.Conn.Do say ErrBusy instead. What others
// have left in an inbox is worked off within bounds (inboxBatch, settleRounds); the rest
// is for the shards' timers, so that no link's reader works for others for ever.
//
// Locks are taken in this order: shard, broker's own, inbox. A shard is never entered
// from inside another: inboxes are drained with TryLock, and a holder looks at its inbox
// again after it has let go, so no event is left behind.
package gateway
