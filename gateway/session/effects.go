package session

import (
	"iter"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"
)

// Effects is what a step of a session wants done. The caller does it, in the order
// requests, records, packets, and resets the Effects for the next step. The zero Effects is
// ready to use.
type Effects struct {
	// Requests are for the broker, in order. Their payloads alias the packet that the
	// session was given, and are valid as long as that is. What is With them belongs to
	// these Effects.
	Requests []broker.Request

	// Records are the changes to what is kept of the session, to be applied after the
	// requests, in one piece, and before the packets are sent: those, and all later ones of
	// this session, must not leave before the changes are durable.
	Records []store.Op

	// Mark is where that is durable which the broker has promised in this step: the packets
	// must not leave before that either.
	Mark store.Mark

	// Drops counts by Reason what came to nothing in this step.
	Drops [Reasons]uint32

	// Retransmissions counts the packets that were sent before.
	Retransmissions int

	// Delivered counts the messages of the broker that have reached the client, or for
	// QoS 0 have been sent to it.
	Delivered int

	// Returned counts the QoS 1 and 2 messages of the broker that are the broker's
	// alone again, because the client left before it took them.
	Returned int

	// Unproven counts the messages of the broker that wait until the client has proven its
	// address, and Probes the packets that ask it to.
	Unproven, Probes int

	// Gone says that the session is over: the caller forgets it.
	Gone bool

	arena []byte
	ends  []int
	// How much of these the session has taken off its credit.
	chargedOctets, chargedPackets int

	wall   time.Time  // now, for what is to be understood after a crash
	ops    []store.Op // of the Requests
	values []byte     // of the records
}

// keepArena is how large an arena may be to be kept for the next step.
const keepArena = 256 << 10

// Reset empties the Effects and keeps its memory.
func (fx *Effects) Reset() {
	clear(fx.Requests)
	fx.Requests = fx.Requests[:0]
	fx.Mark = 0
	fx.Drops = [Reasons]uint32{}
	fx.Retransmissions, fx.Delivered, fx.Returned = 0, 0, 0
	fx.Unproven, fx.Probes = 0, 0
	fx.Gone = false
	fx.arena, fx.ends = fx.arena[:0], fx.ends[:0]
	fx.chargedOctets, fx.chargedPackets = 0, 0
	if cap(fx.arena) > keepArena {
		fx.arena = nil
	}
	if len(fx.values)+len(fx.Records)+len(fx.ops) == 0 {
		return // nothing was to be kept
	}
	clear(fx.Records)
	clear(fx.ops)
	fx.Records, fx.ops, fx.values = fx.Records[:0], fx.ops[:0], fx.values[:0]
	if cap(fx.values) > keepArena {
		fx.values = nil
	}
}

// Packets iterates over the packets for the client, encoded, in order. They are valid
// until Reset.
func (fx *Effects) Packets() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		start := 0
		for _, end := range fx.ends {
			if !yield(fx.arena[start:end:end]) {
				return
			}
			start = end
		}
	}
}

// send ends the packet that was appended to the arena.
func (fx *Effects) send(arena []byte) {
	fx.arena = arena
	fx.ends = append(fx.ends, len(arena))
}

// last is how many octets the packet sent last has.
func (fx *Effects) last() int {
	start, n := 0, len(fx.ends)
	if n > 1 {
		start = fx.ends[n-2]
	}
	return fx.ends[n-1] - start
}

func (fx *Effects) connack(c mqttsn.ReturnCode) {
	fx.send(mqttsn.Connack{ReturnCode: c}.Append(fx.arena))
}

func (fx *Effects) regack(topicID, msgID uint16, c mqttsn.ReturnCode) {
	fx.send(mqttsn.Regack{TopicID: topicID, MsgID: msgID, ReturnCode: c}.Append(fx.arena))
}

func (fx *Effects) puback(topicID, msgID uint16, c mqttsn.ReturnCode) {
	fx.send(mqttsn.Puback{TopicID: topicID, MsgID: msgID, ReturnCode: c}.Append(fx.arena))
}

func (fx *Effects) pubrec(msgID uint16)  { fx.send(mqttsn.Pubrec{MsgID: msgID}.Append(fx.arena)) }
func (fx *Effects) pubrel(msgID uint16)  { fx.send(mqttsn.Pubrel{MsgID: msgID}.Append(fx.arena)) }
func (fx *Effects) pubcomp(msgID uint16) { fx.send(mqttsn.Pubcomp{MsgID: msgID}.Append(fx.arena)) }

func (fx *Effects) unsuback(msgID uint16) { fx.send(mqttsn.Unsuback{MsgID: msgID}.Append(fx.arena)) }

func (fx *Effects) pingresp() { fx.send(mqttsn.Pingresp{}.Append(fx.arena)) }

// disconnect never has a Duration [SN-5.4.21].
func (fx *Effects) disconnect() { fx.send(mqttsn.Disconnect{}.Append(fx.arena)) }

func (fx *Effects) request(r broker.Request) { fx.Requests = append(fx.Requests, r) }

// put makes or replaces a record. Its value is what stands in values from start on.
func (fx *Effects) put(space store.Space, client string, number uint64, start int) {
	fx.Records = append(fx.Records, store.Put(space, client, number, fx.values[start:len(fx.values):len(fx.values)]))
}

func (fx *Effects) erase(space store.Space, client string, number uint64) {
	fx.Records = append(fx.Records, store.Delete(space, client, number))
}

// enclose moves the records from the nth on into the request made last.
func (fx *Effects) enclose(n int) {
	if len(fx.Records) == n {
		return
	}
	start := len(fx.ops)
	fx.ops = append(fx.ops, fx.Records[n:]...)
	fx.Requests[len(fx.Requests)-1].With = fx.ops[start:len(fx.ops):len(fx.ops)]
	if n == 0 { // else those before, which may be about the same, would be applied after them
		clear(fx.Records)
		fx.Records = fx.Records[:0]
	}
}

func (fx *Effects) drop(r Reason) { fx.Drops[r]++ }
