package session

import (
	"slices"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/mqttsn"
)

// What survives a crash. A session that outlives its connection has records in the store
// from when it is first accepted, and so has any session of a client that sleeps, from when
// it first does: all of them together at that time, and from then on what a step has
// changed, at its end. What belongs to a request goes with it instead: Request.With.
//
// While a client connects nothing of its state is written: after a crash the session is as
// it was before that CONNECT.

// kept is what a session knows of its records.
type kept struct {
	written bool
	was     keptState
	hand    handRecord // the zero one: there is no record of the hand

	// Things whose records may have to change: topic ids, numbers of subscriptions, MsgIds
	// of exchanges, and MsgIds of hands that are over.
	topics    []uint16
	subs      []uint32
	exchanges []uint16
	hands     []uint16

	// owed are QoS 2 messages that were on their way to the client before a crash. The
	// broker will bring them again: by their tokens they get back their MsgIds, which
	// nothing else is given meanwhile.
	owed []handRecord

	epoch     uint32 // counts how often topics were doubted: flags of an older one do not hold
	number    uint32 // of the last subscription
	persisted bool   // the broker was told to let the clean session survive a crash
	rewill    bool   // the will has changed since the Connect that is not answered
}

// keptState is what the SessionState was made of.
type keptState struct {
	stateRecord
	due instant // stands for the expiry
}

// keep begins to have records: all that the session has is written at the end of the step.
func (s *Session) keep() {
	if !s.o.Durable || s.kept != nil {
		return
	}
	k := &kept{}
	s.kept = k
	for i := range s.topics.list {
		k.topics = append(k.topics, s.topics.list[i].id)
	}
	for i := range s.subs {
		k.number++
		s.subs[i].number = k.number
		k.subs = append(k.subs, k.number)
	}
	for i := range s.up {
		k.exchanges = append(k.exchanges, s.up[i].msgID)
	}
}

// record puts into fx what the step has changed.
func (s *Session) record(fx *Effects) {
	if fx.Gone {
		s.unkeep(fx)
	}
	k := s.kept
	if k == nil {
		return
	}
	s.recordState(fx)
	if len(k.topics) > 0 {
		s.recordTopics(fx)
	}
	if len(k.subs) > 0 {
		s.recordSubscriptions(fx)
	}
	if len(k.exchanges) > 0 {
		s.recordExchanges(fx)
	}
	s.recordHand(fx)
}

// unkeep deletes all records.
func (s *Session) unkeep(fx *Effects) {
	k := s.kept
	if k == nil {
		return
	}
	s.kept = nil
	// What is gone and not deleted yet counts too.
	for i := range s.topics.list {
		s.topics.list[i].kept = 0
		k.topics = append(k.topics, s.topics.list[i].id)
	}
	for i := range s.subs {
		k.subs = append(k.subs, s.subs[i].number)
	}
	for i := range s.up {
		if s.up[i].kept {
			s.up[i].kept = false
			k.exchanges = append(k.exchanges, s.up[i].msgID)
		}
	}
	k.hands = append(k.hands, k.hand.msgID)
	for _, r := range k.owed {
		k.hands = append(k.hands, r.msgID)
	}
	if k.written {
		fx.erase(store.SessionState, s.id, 0)
	}
	eraseAll(fx, store.SessionTopic, s.id, k.topics)
	eraseAll(fx, store.SessionSubscription, s.id, k.subs)
	eraseAll(fx, store.SessionExchange, s.id, k.exchanges)
	eraseAll(fx, store.SessionHand, s.id, slices.DeleteFunc(k.hands, func(id uint16) bool { return id == 0 }))
}

func eraseAll[N uint16 | uint32](fx *Effects, space store.Space, client string, numbers []N) {
	slices.Sort(numbers)
	for _, n := range slices.Compact(numbers) {
		fx.erase(space, client, uint64(n))
	}
}

// recordState writes what the session is, if that is not what was written last. A wake is a
// part of sleep, and supervision begins anew after a crash, so pings and signs of life
// change nothing.
func (s *Session) recordState(fx *Effects) {
	k := s.kept
	now := keptState{}
	switch s.state {
	case Disconnected:
		now.mode, now.due = 0, s.dueAt
	case Active:
		now.mode = 1
	case Asleep, Awake:
		now.mode = 2
	case Lost:
		now.mode, now.due = 3, s.dueAt
	default:
		return
	}
	now.flags = octet(s.clean)*recordClean | octet(s.stored)*recordStored | octet(s.regacked)*recordRegacked |
		octet(s.mute)*recordMute | octet(k.persisted)*recordPersisted
	now.duration, now.sleepTime, now.topicID = s.duration, s.sleepTime, s.topics.last
	now.epoch, now.will = k.epoch, s.will
	if k.written && now == k.was {
		return
	}
	k.written, k.was = true, now
	if now.due != 0 {
		now.expiry = fx.wall.Add(s.epoch.Add(time.Duration(now.due)).Sub(fx.wall)).UnixMilli()
	}
	start := len(fx.values)
	fx.values = now.append(fx.values)
	fx.put(store.SessionState, s.id, 0, start)
}

// topicIsNow changes what is known about a topic.
func (s *Session) topicIsNow(t *topic, is topicIs) {
	if t.is == is {
		return
	}
	t.is = is
	if s.kept != nil {
		s.kept.topics = append(s.kept.topics, t.id)
	}
}

// addTopic is topics.add within the limit.
func (s *Session) addTopic(name string) *topic {
	ts := &s.topics
	ts.evicted = 0
	t := ts.add(name, s.o.MaxTopics)
	if s.kept == nil || t == nil {
		return t
	}
	if ts.evicted != 0 {
		s.kept.topics = append(s.kept.topics, ts.evicted)
	}
	if t.kept == 0 {
		s.kept.topics = append(s.kept.topics, t.id)
	}
	return t
}

// doubtTopics forgets what the client knows of topic ids.
func (s *Session) doubtTopics() {
	s.topics.doubt()
	if k := s.kept; k != nil {
		k.epoch++ // so the records say so too
	}
}

func (s *Session) recordTopics(fx *Effects) {
	k := s.kept
	for _, id := range k.topics {
		t := s.topics.byID(id)
		switch {
		case t == nil:
			fx.erase(store.SessionTopic, s.id, uint64(id))
		case t.kept != t.is|topicKept:
			t.kept = t.is | topicKept
			r := topicRecord{is: t.is, epoch: k.epoch, name: t.name}
			start := len(fx.values)
			fx.values = r.append(fx.values)
			fx.put(store.SessionTopic, s.id, uint64(id), start)
		}
	}
	k.topics = k.topics[:0]
}

// subscriptionChanged notes that a subscription was made, changed or ended.
func (s *Session) subscriptionChanged(sub *subscription) {
	k := s.kept
	if k == nil {
		return
	}
	if sub.number == 0 {
		k.number++
		sub.number = k.number
	}
	k.subs = append(k.subs, sub.number)
}

func (s *Session) recordSubscriptions(fx *Effects) {
	k := s.kept
	for _, n := range k.subs {
		i := slices.IndexFunc(s.subs, func(sub subscription) bool { return sub.number == n })
		if i < 0 {
			fx.erase(store.SessionSubscription, s.id, uint64(n))
			continue
		}
		start := len(fx.values)
		fx.values = s.subs[i].append(fx.values)
		fx.put(store.SessionSubscription, s.id, uint64(n), start)
	}
	k.subs = k.subs[:0]
}

// exchangeOver notes that an exchange, which may have a record, is over or another's place.
func (s *Session) exchangeOver(x *exchange) {
	if x.kept {
		x.kept = false
		s.kept.exchanges = append(s.kept.exchanges, x.msgID)
	}
}

// exchangeWith is the record of a QoS 2 message from the client, which becomes durable
// together with what makes the message safe.
func (s *Session) exchangeWith(x *exchange, fx *Effects) []store.Op {
	if s.kept == nil || x.qos != mqttsn.QoS2 {
		return nil
	}
	x.kept = true
	start := len(fx.values)
	fx.values = x.append(fx.values)
	n := len(fx.ops)
	fx.ops = append(fx.ops, store.Put(store.SessionExchange, s.id, uint64(x.msgID), fx.values[start:len(fx.values):len(fx.values)]))
	return fx.ops[n:len(fx.ops):len(fx.ops)]
}

func (s *Session) recordExchanges(fx *Effects) {
	k := s.kept
	for _, id := range k.exchanges {
		switch x := s.exchangeByID(id); {
		case x == nil || !x.kept && (x.qos != mqttsn.QoS2 || x.stage != received):
			fx.erase(store.SessionExchange, s.id, uint64(id))
		case !x.kept:
			x.kept = true
			start := len(fx.values)
			fx.values = x.append(fx.values)
			fx.put(store.SessionExchange, s.id, uint64(id), start)
		}
	}
	k.exchanges = k.exchanges[:0]
}

// allWith lets all that the step has changed become durable together with the request made
// last.
func (s *Session) allWith(fx *Effects) {
	if s.kept != nil {
		n := len(fx.Records)
		s.record(fx)
		fx.enclose(n)
	}
}

// persist asks the broker to let a clean session survive a crash, as ours does: its client
// sleeps, and will not know.
func (s *Session) persist(fx *Effects) {
	if k := s.kept; k != nil && s.clean && !k.persisted {
		k.persisted = true
		if s.link == linkOpen {
			fx.request(broker.Request{Op: broker.Persist})
		}
	}
}
