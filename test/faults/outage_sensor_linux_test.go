package faults

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"
)

// sensor is a lean device, of which a test has thousands: it only publishes, with QoS 1,
// one message after the other, and gives up none of them.
type sensor struct {
	herd      *herd
	publisher uint32
	id, topic string
	conn      net.Conn
	// quota is how many messages it may have begun in all; idle is set while it has none
	// under way and may begin none.
	quota atomic.Uint64
	idle  atomic.Bool
	// arrived is the latest message that the judge has; owed is the latest one of the
	// outage. Order is kept, so the outage is over for this sensor when it has arrived.
	arrived, owed atomic.Uint64

	connected        bool
	topicID, msgID   uint16
	control          uint16 // MsgId of the REGISTER
	begun            uint64
	sequence         uint64 // of the message under way, 0 if there is none
	payload          []byte
	due, at          time.Time // the next message; the next repetition
	tries            int
	message          moment
	mu               sync.Mutex
	moments          []moment // of each message, guarded by mu
	repeats, refused int
}

// moment is when a message was begun, and in which stage and class.
type moment struct {
	at time.Time
	in setting
}

// sensorRetry is T_retry. It is long, so that an answer that a busy machine delays is not
// a message that comes twice.
const sensorRetry = 5 * time.Second

// run goes on until the connection is closed.
func (s *sensor) run() {
	buf := make([]byte, 64)
	for {
		now := time.Now()
		wake := s.step(now)
		_ = s.conn.SetReadDeadline(wake)
		n, err := s.conn.Read(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			continue
		}
		if p, err := mqttsn.Decode(buf[:n]); err == nil {
			s.hear(p)
		}
	}
}

// step sends what is due, and returns when to look again.
func (s *sensor) step(now time.Time) time.Time {
	if s.connected && s.topicID != 0 && s.sequence == 0 {
		switch {
		case s.begun >= s.quota.Load():
			s.due = now
			s.idle.Store(true)
			return now.Add(s.herd.period)
		case now.Before(s.due):
			return s.due
		}
		s.begin(now)
	}
	if now.Before(s.at) {
		return s.at
	}
	s.send(now)
	return s.at
}

// begin begins a message. One that is late does not make the next ones late.
func (s *sensor) begin(now time.Time) {
	s.idle.Store(false)
	s.due = s.due.Add(s.herd.period)
	s.sequence, s.payload = s.herd.ledger.Attempt(s.publisher, s.topic, 1)
	s.begun++
	s.next()
	s.message = moment{now, s.herd.setting(s.arrived.Load() >= s.owed.Load())}
	s.mu.Lock()
	s.moments = append(s.moments, s.message)
	s.mu.Unlock()
	s.tries, s.at = 0, time.Time{}
}

func (s *sensor) send(now time.Time) {
	var p mqttsn.Packet
	switch {
	case !s.connected:
		p = &mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, Duration: 3600, ClientID: []byte(s.id)}
	case s.topicID == 0:
		if s.control == 0 {
			s.control = s.next()
		}
		p = &mqttsn.Register{MsgID: s.control, TopicName: []byte(s.topic)}
	default:
		p = &mqttsn.Publish{DUP: s.tries > 0, QoS: mqttsn.QoS1, TopicID: s.topicID, MsgID: s.msgID, Data: s.payload}
	}
	if s.tries > 0 {
		s.repeats++
	}
	s.tries++
	s.at = now.Add(sensorRetry)
	_, _ = s.conn.Write(p.Append(nil))
}

func (s *sensor) next() uint16 {
	s.msgID = max(s.msgID+1, 1)
	return s.msgID
}

func (s *sensor) hear(p mqttsn.Packet) {
	switch p := p.(type) {
	case *mqttsn.Connack:
		s.connected = s.connected || s.accepted(p.ReturnCode)
	case *mqttsn.Disconnect:
		s.refused++
		s.connected, s.at = false, time.Time{}
	case *mqttsn.Regack:
		if p.MsgID == s.control && s.accepted(p.ReturnCode) {
			s.topicID = p.TopicID
		}
	case *mqttsn.Puback:
		if s.sequence == 0 || p.MsgID != s.msgID || !s.accepted(p.ReturnCode) {
			return
		}
		s.herd.ledger.Acknowledge(s.publisher, s.sequence)
		s.herd.acks.add(s.message)
		s.sequence = 0
	}
}

// accepted notes a refusal; what was refused is sent again after T_retry.
func (s *sensor) accepted(code mqttsn.ReturnCode) bool {
	if code != mqttsn.Accepted {
		s.refused++
		return false
	}
	s.tries, s.at = 0, time.Time{}
	return true
}

// received is told by the judge of each message.
func (s *sensor) received(sequence uint64) {
	if s.arrived.Load() >= sequence {
		return
	}
	s.mu.Lock()
	m := s.moments[sequence-1]
	s.mu.Unlock()
	s.herd.arrivals.add(m)
	s.arrived.Store(sequence)
}

// herd is all sensors of a test.
type herd struct {
	ledger  *Ledger
	sensors []*sensor
	period  time.Duration
	running sync.WaitGroup
	stage   atomic.Int32
	// acks are the times until PUBACK, arrivals those until the judge has a message.
	acks, arrivals times
}

// newHerd connects sensors, spread over the period.
func newHerd(t testing.TB, l *Ledger, gateway string, sensors int, period time.Duration) *herd {
	t.Helper()
	h := &herd{ledger: l, period: period}
	t.Cleanup(h.stop)
	now := time.Now()
	for i := range sensors {
		conn, err := net.Dial("udp", gateway)
		if err != nil {
			t.Fatal(err)
		}
		start := now.Add(time.Duration(i) * time.Second / 1000)
		s := &sensor{herd: h, publisher: uint32(i + 1), id: fmt.Sprintf("sensor-%d", i+1), topic: fmt.Sprintf("out/%d", i+1), conn: conn, at: start}
		h.sensors = append(h.sensors, s)
	}
	for _, s := range h.sensors {
		h.running.Go(s.run)
	}
	return h
}

func (h *herd) stop() {
	for _, s := range h.sensors {
		_ = s.conn.Close()
	}
	h.running.Wait()
}

// allow lets some sensors publish so many messages more, or the number that they may have
// begun is now all.
func allow(sensors []*sensor, messages uint64) {
	for _, s := range sensors {
		s.idle.Store(false)
		s.quota.Add(messages)
	}
}

// idle counts the sensors that have nothing under way and may begin nothing.
func (h *herd) idle() (n int) {
	for _, s := range h.sensors {
		if s.idle.Load() {
			n++
		}
	}
	return n
}

// indebted counts the messages of the outage that have not arrived.
func (h *herd) indebted() (messages int) {
	for _, s := range h.sensors {
		if owed, arrived := s.owed.Load(), s.arrived.Load(); owed > arrived {
			messages += int(owed - arrived)
		}
	}
	return messages
}

// receive finds the sensor of a message.
func (h *herd) receive(payload []byte) {
	if len(payload) != sizeOfPayload {
		return
	}
	publisher, sequence := binary.BigEndian.Uint32(payload), binary.BigEndian.Uint64(payload[4:])
	if publisher > 0 && int(publisher) <= len(h.sensors) {
		h.sensors[publisher-1].received(sequence)
	}
}
