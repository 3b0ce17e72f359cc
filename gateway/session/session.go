package session

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// instant is a point in time as nanoseconds of the session's own clock; 0 means never.
type instant int64

func (t instant) after(d time.Duration) instant { return t + instant(d) }

// due reports whether a deadline has come.
func (t instant) due(now instant) bool { return t != 0 && t <= now }

// Session is one client as MQTT-SN 1.2 section 6 sees it. It is not safe for concurrent
// use.
type Session struct {
	o      *Options
	id     string
	rights Rights // nil: those to do everything

	epoch time.Time // instant 0

	// Deadlines.
	dueAt    instant // what is due at it depends on the state
	retryAt  instant // the next step for the message in hand
	answerAt instant // from then on the broker's answers to asks are not waited for

	// since is when the client was accepted (Active), by when it shall sleep again
	// (Awake), or when it was last told to CONNECT (Disconnected, Lost).
	since   instant
	silence time.Duration // how long the client may be silent now; 0: for ever

	will        *broker.Message // the stored will, maybe without a topic; never changed, only replaced
	pendingWill *broker.Message // what the client has said of its will while it connects

	topics topics
	subs   []subscription
	queue  queue
	hand   hand
	up     []exchange
	asks   []ask

	line  line
	proof proof
	kept  *kept // nil if the session has no records

	mtu       int32
	token     broker.Token // given last
	connect   broker.Token // of the Connect request, while link is opening
	drainLeft int32        // messages that may still be sent in this wake
	duration  uint16       // keep alive as announced
	sleepTime uint16       // sleep duration as announced, or as bounded
	msgID     uint16       // given last
	stride    uint16       // from one msgID to the next; odd

	state State
	link  link

	clean     bool // the session ends with its connection
	stored    bool // the session outlives its connection, and was accepted at least once
	roused    bool // the client was asleep when it began to connect
	moved     bool // the next packet comes from a new peer
	quiet     bool // nothing has been heard since CONNACK
	copied    bool // the client is prompted for its will, but has perhaps its CONNACK
	wantClean bool // flags of the last CONNECT
	wantWill  bool
	regacked  bool // the client has answered a REGISTER
	mute      bool // the client does not answer REGISTER, on this connection
}

// link is the state of the broker connection.
type link byte

const (
	linkClosed link = iota
	linkOpening
	linkOpen
)

// New makes the session of the client with that id. All sessions share o, which has
// been validated. The ids of messages and topics begin after seed: start at a random one, so
// that nobody can guess them. Those of messages go on in strides that seed decides, of a
// quarter of them or more: who tries them all, one after another, is right a few times, and
// not each time again. After 0, which is for tests, they count up by one.
func New(id string, o *Options, seed uint16) *Session {
	return &Session{o: o, id: id, msgID: seed, stride: strideOf(seed), topics: topics{last: seed}, mtu: mqttsn.MaxPacket}
}

func strideOf(seed uint16) uint16 {
	if seed == 0 {
		return 1
	}
	return 1<<14 + seed*40503%(1<<15) | 1
}

// ID is the client's ClientID.
func (s *Session) ID() string { return s.id }

// State is the state that the client is in.
func (s *Session) State() State { return s.state }

// Queued is how many messages wait for the client or for its acknowledgement, and the
// octets of their topics and payloads.
func (s *Session) Queued() (messages, bytes int) {
	messages, bytes = s.queue.len(), int(s.queue.bytes)
	if s.hand.msg != nil {
		messages++
		bytes += s.hand.size()
	}
	return messages, bytes
}

// Packet takes a packet of the client, as decoded: a pointer to one of the structs of
// package mqttsn. It is not kept.
func (s *Session) Packet(now time.Time, p mqttsn.Packet, fx *Effects) {
	t := s.begin(now, fx)
	if s.proof.wary {
		s.earn(p)
	}
	if p, ok := p.(*mqttsn.Connect); ok {
		s.packetConnect(t, p, fx)
		s.moved = false
		s.end(fx)
		return
	}
	s.moved = false
	switch s.state {
	case Active, Asleep, Awake:
		s.packetConnected(t, p, fx)
	case AwaitingWillTopic, AwaitingWillMsg, Connecting:
		if s.copied {
			s.packetPrompted(t, p, fx)
		} else {
			s.packetConnecting(t, p, fx)
		}
	case Disconnected, Lost:
		s.packetDisconnected(t, p, fx)
	}
	s.end(fx)
}

// begin begins a step.
func (s *Session) begin(now time.Time, fx *Effects) instant {
	if s.o.Durable {
		fx.wall = now
	}
	return s.clock(now)
}

// end ends a step: what it has changed is written.
func (s *Session) end(fx *Effects) {
	if s.proof.wary {
		s.charge(fx)
	}
	if s.kept != nil {
		s.record(fx)
	}
}

// packetConnected takes a packet of a client that has a connection. Any packet shows
// that the client lives [SN-6.14]. A sleeper should CONNECT before it sends anything;
// if it does not, it is served all the same and stays asleep.
func (s *Session) packetConnected(t instant, p mqttsn.Packet, fx *Effects) {
	if s.quiet && s.repeatsWill(t, p) {
		fx.drop(Repeated)
		s.acceptAgain(t, fx)
		return
	}
	s.heard(t)
	if s.link != linkOpen && asksBroker(p) {
		// Since a crash the broker is not connected yet. The client sends it again.
		fx.drop(NotConnected)
		return
	}
	switch p := p.(type) {
	case *mqttsn.Publish:
		s.packetPublish(t, p, fx)
	case *mqttsn.Pubrel:
		s.packetPubrel(t, p, fx)
	case *mqttsn.Puback:
		s.packetPuback(t, p, fx)
	case *mqttsn.Pubrec:
		s.packetPubrec(t, p, fx)
	case *mqttsn.Pubcomp:
		s.packetPubcomp(t, p, fx)
	case *mqttsn.Register:
		s.packetRegister(p, fx)
	case *mqttsn.Regack:
		s.packetRegack(t, p, fx)
	case *mqttsn.Subscribe:
		s.packetSubscribe(t, p, fx)
	case *mqttsn.Unsubscribe:
		s.packetUnsubscribe(t, p, fx)
	case *mqttsn.Pingreq:
		s.packetPingreq(t, fx)
	case *mqttsn.Disconnect:
		s.packetDisconnect(t, p, fx)
	case *mqttsn.WillTopicUpd:
		s.packetWillTopicUpd(p, fx)
	case *mqttsn.WillMsgUpd:
		s.packetWillMsgUpd(p, fx)
	case *mqttsn.Pingresp, *mqttsn.SearchGW:
		// Nobody asked, or the caller answers, but it is a sign of life like any other.
	default:
		fx.drop(Unexpected)
	}
	if s.paused() {
		s.resume(t, fx)
	} else {
		s.goOn(t, fx)
	}
}

// packetConnecting takes a packet of a client that has not got its CONNACK yet. Only
// the packets of the connect procedure mean anything [SN-6.2].
func (s *Session) packetConnecting(t instant, p mqttsn.Packet, fx *Effects) {
	switch p := p.(type) {
	case *mqttsn.WillTopic:
		s.packetWillTopic(t, p, fx)
	case *mqttsn.WillMsg:
		s.packetWillMsg(t, p, fx)
	case *mqttsn.Disconnect:
		fx.disconnect()
		s.hangUp(broker.Disconnect, fx)
		s.disconnect(t, fx)
	default:
		fx.drop(NotConnected)
	}
}

// packetPrompted takes a packet of a client that was accepted, and prompted for its will once
// more. If it is not for that, its CONNECT was a copy, and it has been active all the time.
func (s *Session) packetPrompted(t instant, p mqttsn.Packet, fx *Effects) {
	switch p.(type) {
	case *mqttsn.WillMsg:
		if s.state == AwaitingWillTopic { // the end of the first procedure, again
			fx.drop(Repeated)
			s.reactivate(t)
			fx.connack(mqttsn.Accepted)
			s.resume(t, fx)
			return
		}
		s.packetConnecting(t, p, fx)
	case *mqttsn.WillTopic:
		s.packetConnecting(t, p, fx)
	default:
		s.reactivate(t)
		s.packetConnected(t, p, fx)
		s.next(t, fx)
	}
}

// packetDisconnected takes a packet of a client that has no connection. Whoever seems
// to believe in one is told to CONNECT [SN-6.12], but not more often than once a second:
// a client that answers DISCONNECT with DISCONNECT shall not start a quarrel.
func (s *Session) packetDisconnected(t instant, p mqttsn.Packet, fx *Effects) {
	fx.drop(NotConnected)
	switch p := p.(type) {
	case *mqttsn.Publish:
		if p.QoS == mqttsn.QoSMinusOne {
			return // needs no connection; the caller has one for such messages
		}
	case *mqttsn.Pubrel, *mqttsn.Subscribe, *mqttsn.Unsubscribe, *mqttsn.Register, *mqttsn.Pingreq,
		*mqttsn.Disconnect, *mqttsn.WillTopicUpd, *mqttsn.WillMsgUpd:
	default:
		return
	}
	if s.since == 0 || t >= s.since.after(time.Second) {
		s.since = t
		fx.disconnect()
	}
}

// Broker takes what the broker has told.
func (s *Session) Broker(now time.Time, ev broker.Event, fx *Effects) {
	t := s.begin(now, fx)
	fx.Mark = max(fx.Mark, ev.Mark)
	if s.link == linkClosed { // what an ended connection still had to say
		switch {
		case ev.Kind == broker.Delivered && ev.QoS == 0:
			fx.drop(Disconnection)
		case ev.Kind == broker.Delivered:
			fx.Returned++ // the broker keeps it
		}
		return
	}
	switch ev.Kind {
	case broker.Answered:
		switch {
		case s.link == linkOpening && ev.Token == s.connect:
			s.connectAnswered(t, &ev, fx)
		case s.publishAnswered(t, &ev, fx):
		default:
			s.askAnswered(t, &ev, fx)
		}
	case broker.Delivered:
		s.delivered(t, &ev, fx)
	case broker.Closed:
		s.closed(t, ev.Code, fx)
	}
	s.end(fx)
}

// Expire does what is due at now. It does nothing before Deadline.
func (s *Session) Expire(now time.Time, fx *Effects) {
	t := s.begin(now, fx)
	if s.dueAt.due(t) {
		s.overdue(t, fx)
	}
	if s.answerAt.due(t) {
		s.forgetAsks()
		s.next(t, fx)
	}
	if s.retryAt.due(t) {
		s.retry(t, fx)
	}
	s.end(fx)
}

// Deadline is when Expire has something to do; the zero Time if never.
func (s *Session) Deadline() time.Time {
	first := s.dueAt
	for _, t := range [...]instant{s.retryAt, s.answerAt} {
		if t != 0 && (first == 0 || t < first) {
			first = t
		}
	}
	if first == 0 {
		return time.Time{}
	}
	return s.epoch.Add(time.Duration(first))
}

// clock converts now. Instants are relative to the first one that the session was
// given, so they are small and follow the monotonic clock.
func (s *Session) clock(now time.Time) instant {
	if s.epoch.IsZero() {
		s.epoch = now.Add(-1)
	}
	return max(1, instant(now.Sub(s.epoch)))
}

// nextToken gives a request its token.
func (s *Session) nextToken() broker.Token {
	s.token++
	return s.token
}

// nextMsgID gives a packet of ours its MsgId: never 0 and never one that is in use.
func (s *Session) nextMsgID() uint16 {
	for {
		s.msgID += s.stride // odd, so each id has its turn
		if s.msgID != 0 && !s.inUse(s.msgID) {
			return s.msgID
		}
	}
}
