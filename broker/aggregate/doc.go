// Package aggregate completes the bridge with a broker elsewhere over a few connections for
// all clients, instead of one for each: broker.mode aggregating.
//
// # How it works
//
// Clients are connected with the embedded broker, the local one: it has their sessions,
// subscriptions, queues and wills, and all of that survives a crash there. It is not the
// broker of their messages, though, but one half of a bridge:
//
//  1. What a client publishes, and its will, goes to the broker elsewhere only: the local
//     broker gives it to [Broker.Publish] instead of its own subscribers. It comes back if
//     somebody here has subscribed to it. The links spool it, so it is safe at once.
//  2. A filter that somebody here has subscribed to is subscribed to elsewhere, once, see
//     filters.
//  3. What comes for it is handed to the local subscribers, and is acknowledged to the broker
//     elsewhere together with the record of it in their queues ([Local.Inbound]): a crash
//     leaves it on one side or the other.
//
// A link is a client of the broker elsewhere with a session of its own. All subscriptions
// are those of the first link, so that no message comes twice because two links have
// subscribed to it; messages of one client go by one link, so that they stay in order.
//
// # What is different from a connection for each client
//
// The broker elsewhere sees the links only: their client ids, and its access rights for
// them. A message that matches several subscriptions of ours comes once from most brokers,
// but once for each of them from some (EMQX), as MQTT allows [MQTT-3.3.5-1]; its receivers
// get it as often. Retained messages come from the broker elsewhere for every new
// subscription; those for whom they are not meant do not get them. Shared subscriptions are
// refused: the links would share with each other.
package aggregate
