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
//     broker.Conn, records to the store, datagrams to its link, counters, the next deadline.
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
// Locks are taken in this order: shard, routes or broker's own, inbox or store. A shard is
// never entered from inside another: inboxes are drained with TryLock, and a holder looks at
// its inbox again after it has let go, so no event is left behind.
//
// # What survives
//
// With a store, what leaves the process is durable before it leaves. A step counts at once;
// [shard.apply] has its changes written, and [shard.send] holds its packets, and all later
// ones of the same client, until the store has reached the mark of the latest of them
// (held.go). The store's word of a commit is taken by [Gateway.committed], which only leaves
// a note: [Gateway.follow] enters each shard in which packets are held, once for each commit,
// and they leave in one batch.
//
// Of a step the requests come first and the session's own records after them; a place
// (places.go) comes before both. So after a crash a session knows nothing that the broker
// does not, and is never without the identity that it was begun with. New reads the sessions
// and puts their clients where they were (restore.go); Run lets them go on in batches, and
// whoever sends a packet before. A shutdown leaves stored sessions as they are.
//
// A store that is crowded takes no new clients, which are refused with "congestion". One that
// commits nothing holds back acknowledgements, up to a bound for each client and for all;
// clients that need none do not notice. Without a store nothing of this is done, and costs
// two comparisons for each packet.
package gateway
