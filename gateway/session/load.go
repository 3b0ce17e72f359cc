package session

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"mqttsn-gateway/gateway/planted"
	"mqttsn-gateway/gateway/store"
)

// Load makes the sessions that the store has, in the order of their ClientIDs, each in its
// state from before, and calls add for each. Call Resume before anything else is done with
// one. It ends with the first error: of the store, of add, or one that wraps
// store.ErrValue and names client, space and number of a record that cannot be read. What to
// do then is for the caller to decide; nothing is guessed. Records without the session that
// they belong to mean nothing to anybody: if there was no error, they are deleted.
func Load(st store.Store, o *Options, now time.Time, add func(*Session) error) error {
	l := &loader{o: o, now: now, sessions: make(map[string]*Session)}
	for _, space := range [...]struct {
		space store.Space
		name  string
		read  func(s *Session, number uint64, value []byte) error
	}{
		{store.SessionState, "state", nil}, // first: it makes the sessions
		{store.SessionTopic, "topic", (*Session).loadTopic},
		{store.SessionSubscription, "subscription", (*Session).loadSubscription},
		{store.SessionExchange, "exchange", (*Session).loadExchange},
		{store.SessionHand, "hand", (*Session).loadHand},
	} {
		err := st.All(space.space, func(k store.Key, value []byte) error {
			var err error
			if s := l.sessions[k.Client]; space.read == nil {
				err = l.state(k, value)
			} else if s != nil {
				err = space.read(s, k.Number, value)
			} else {
				l.orphans = append(l.orphans, store.Op{Key: k})
			}
			if err != nil {
				return fmt.Errorf("session of client %q: %s record (space %d, number %d): %w", k.Client, space.name, k.Space, k.Number, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, s := range l.list {
		s.loaded()
		if err := add(s); err != nil {
			return err
		}
	}
	if len(l.orphans) > 0 {
		st.Apply(l.orphans...)
	}
	return nil
}

// loader is what Load has found.
type loader struct {
	o        *Options
	now      time.Time
	sessions map[string]*Session
	list     []*Session // in the order of the store
	orphans  []store.Op
}

// state makes a session from its state record.
func (l *loader) state(k store.Key, value []byte) error {
	r, err := readState(value)
	if err != nil {
		return err
	}
	if k.Number != 0 || k.Client == "" {
		return store.ErrValue
	}
	// Nobody shall guess the MsgIds from those before.
	seed := crc32.Update(uint32(l.now.UnixNano()), castagnoli, []byte(k.Client))
	s := New(k.Client, l.o, uint16(seed))
	s.restore(&r, s.clock(l.now), l.now)
	l.sessions[k.Client] = s
	l.list = append(l.list, s)
	return nil
}

func (s *Session) loadTopic(number uint64, value []byte) error {
	r, err := readTopic(value)
	if err != nil {
		return err
	}
	if number == 0 || number > maxTopicID {
		return store.ErrValue
	}
	if planted.RenumberTopicIDs {
		number ^= 1
	}
	if r.epoch != s.kept.epoch {
		r.is &^= connectionFlags
	}
	s.topics.insert(topic{name: r.name, id: uint16(number), is: r.is, kept: r.is | topicKept})
	return nil
}

func (s *Session) loadSubscription(number uint64, value []byte) error {
	sub, err := readSubscription(value)
	if err != nil {
		return err
	}
	if number == 0 || number > 1<<32-1 {
		return store.ErrValue
	}
	sub.number = uint32(number)
	s.kept.number = max(s.kept.number, sub.number)
	s.subs = append(s.subs, sub)
	return nil
}

func (s *Session) loadExchange(number uint64, value []byte) error {
	x, err := readExchange(value)
	if err != nil {
		return err
	}
	if number > 1<<16-1 {
		return store.ErrValue
	}
	if planted.ForgetQoS2ID {
		return nil
	}
	x.msgID, x.kept = uint16(number), true
	s.up = append(s.up, x)
	return nil
}

func (s *Session) loadHand(number uint64, value []byte) error {
	r, err := readHand(value)
	if err != nil {
		return err
	}
	if number == 0 || number > 1<<16-1 {
		return store.ErrValue
	}
	if planted.StaleHandMsgID {
		return nil
	}
	r.msgID = uint16(number)
	if r.releasing && s.hand.phase == idle {
		// The message is the client's: only PUBCOMP is to come.
		s.kept.hand = r
		s.hand = hand{
			delivery: delivery{token: r.token, qos: 2, owned: true},
			msgID:    r.msgID, phase: releasing, sent: true, acked: true,
		}
		return nil
	}
	if r.releasing || len(s.kept.owed) == maxOwed {
		s.kept.hands = append(s.kept.hands, r.msgID) // the next step deletes it
		return nil
	}
	s.kept.owed = append(s.kept.owed, r)
	return nil
}

// loaded makes what the records do not say.
func (s *Session) loaded() {
	// In the order in which they were made, to ask for them in the same.
	slices.SortFunc(s.subs, func(a, b subscription) int { return cmp.Compare(a.number, b.number) })
}
