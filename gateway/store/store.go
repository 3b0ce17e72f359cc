// Package store is where state is kept that has to survive a crash: what the gateway and
// its broker side have promised. This package has the interface, the names of what is
// kept, and an implementation in memory; gateway/store/disk has the one on disk.
//
// # Records and marks
//
// State is a set of records: a [Key] and a value each. A change is an [Op]; those given to
// one Apply are made durable together, all or none. Apply does not wait: it returns a
// [Mark], and what the change promises must not be told to anybody before Durable has
// reached it. Marks are in order: once one is durable, all before it are. So whoever sends
// something that depends on several changes waits for the latest only.
//
// What was applied counts at once for all that follows in this process; only what leaves
// the process waits. A crash takes back all that was not durable, together with everything
// in memory that was built on it.
//
// # Who keeps what
//
// Each [Space] belongs to one package, which alone knows the form of its values. The first
// octet of a value is the version of that form, so that a later release can read it.
package store

import "errors"

// Space says what a record is about. A record is named by its space, a client id and a
// number; a space that has no use for one of them leaves it empty.
type Space byte

// The spaces. Their values stand on disk: they never change, and none is used again for
// something else.
const (
	// Of package gateway/session: the session itself, its topic ids by id, its
	// subscriptions, its unfinished QoS 2 messages from the client by MsgId, and the QoS 2
	// message that the client is being given.
	SessionState        Space = 1
	SessionTopic        Space = 2
	SessionSubscription Space = 3
	SessionExchange     Space = 4
	SessionHand         Space = 5
	// Of package gateway: where a client is.
	ClientPlace Space = 6

	// Of package broker/embedded: the session of a client id, its subscriptions, its queue
	// by number, what is known of a delivery by number, QoS 2 identifiers from the client,
	// messages that stand in more than one queue, and retained messages.
	MQTTSession      Space = 17
	MQTTSubscription Space = 18
	MQTTDelivery     Space = 19
	MQTTFlight       Space = 20
	MQTTReceived     Space = 21
	MQTTMessage      Space = 22
	MQTTRetained     Space = 23

	// Of package broker/upstream: a client's session with the broker elsewhere, what is to
	// be published there, messages from there that were acknowledged to it, QoS 2
	// identifiers that it has not released, and messages that it has refused for good.
	UpstreamSession    Space = 33
	UpstreamRequest    Space = 34
	UpstreamDelivery   Space = 35
	UpstreamUnreleased Space = 36
	UpstreamDeadLetter Space = 37

	// Of package broker/aggregate: what the client ids of its links begin with.
	AggregateName Space = 49
)

// Key names a record.
type Key struct {
	Space  Space
	Client string
	Number uint64
}

// Op is one change: Value replaces that of the record Key names, or makes the record; nil
// deletes it, if there is one. An empty value is not nil.
type Op struct {
	Key   Key
	Value []byte
}

// Put makes or replaces a record.
func Put(s Space, client string, number uint64, value []byte) Op {
	if value == nil {
		value = []byte{}
	}
	return Op{Key: Key{s, client, number}, Value: value}
}

// Delete deletes a record.
func Delete(s Space, client string, number uint64) Op {
	return Op{Key: Key{s, client, number}}
}

// Mark stands for a point in the order of changes. The zero Mark is always durable.
type Mark uint64

// Level says how much the store can still take. Whoever is about to accept something new
// looks at it; changes that bring forward what was accepted are taken at every level.
type Level byte

// The levels. Each includes what is said of those before it.
const (
	// Normal: everything is accepted.
	Normal Level = iota
	// Warning: from 70 % of the limits on. Everything is accepted still, and the log says so.
	Warning
	// Crowded: from 80 % on, or while the disk is slow. New sessions are refused with "congestion".
	Crowded
	// Full: from 90 % on. New QoS 1 and 2 messages are not accepted.
	Full
	// Degraded: the disk is full or has failed. Nothing becomes durable until it works
	// again, which the store finds out by itself.
	Degraded
)

// String is the level's name.
func (l Level) String() string {
	return [...]string{"normal", "warning", "crowded", "full", "degraded"}[min(l, Degraded)]
}

// ErrNotFound says that there is no record with that key.
var ErrNotFound = errors.New("store: no such record")

// Store keeps records. Its methods may be called from any goroutine, and none but Read,
// All and Close takes longer than a lock is held for a moment.
type Store interface {
	// Apply takes changes that belong together, in order, and returns the mark at which
	// they are durable. It copies the values. It always takes them: see Level.
	Apply(ops ...Op) Mark

	// Durable is the mark up to which all is durable: written, and synced to the disk.
	Durable() Mark

	// Notify has fn called whenever Durable has advanced, or Level has changed: by one
	// goroutine of the store's, which holds no lock and commits nothing meanwhile, so fn
	// is to be quick. It is called before anything is applied.
	Notify(fn func())

	// Level says how much the store can still take.
	Level() Level

	// Read appends the value of a record to b, as it was applied last. It may have to wait
	// for the disk. The error is ErrNotFound, or says what could not be read.
	Read(k Key, b []byte) ([]byte, error)

	// All calls fn for each record of a space in the order of clients and numbers, and
	// ends with the first error of fn. The value is valid during the call. It is meant for
	// the start, before anything is applied to that space.
	All(s Space, fn func(k Key, value []byte) error) error

	// Close makes durable what was applied, and ends. Nothing is applied after it.
	Close() error
}
