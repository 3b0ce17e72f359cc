package faults

import (
	"fmt"
	"net"
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"
)

// sleeper is a device that a test moves step by step.
type sleeper struct {
	*device
	t testing.TB
	// strangers counts the times that it was told DISCONNECT unasked.
	strangers int
}

func newSleeper(t testing.TB, l *Ledger, addr, id string) *sleeper {
	t.Helper()
	s := &sleeper{device: newDevice(t, l, addr, id, 0), t: t}
	t.Cleanup(func() { _ = s.conn.Close() })
	return s
}

// ask sends a packet until it is answered. What comes meanwhile is treated as a device
// does.
func (s *sleeper) ask(p mqttsn.Packet, answers func(mqttsn.Packet) bool) error {
	_, asleep := p.(*mqttsn.Disconnect)
	for deadline := time.Now().Add(patience / 4); time.Now().Before(deadline); {
		s.send(p)
		for retry := time.Now().Add(s.retry); ; {
			got, err := s.receive(retry)
			if err != nil {
				break
			}
			if _, told := got.(*mqttsn.Disconnect); told && !asleep {
				s.strangers++
			}
			if answers(got) {
				return nil
			}
			s.hear(got)
		}
	}
	return fmt.Errorf("%s: no answer to %v within %v", s.id, p.Type(), patience/4)
}

// receive is the next packet; an error if there is none until the deadline.
func (s *sleeper) receive(deadline time.Time) (mqttsn.Packet, error) {
	buf := make([]byte, 2048)
	for {
		_ = s.conn.SetReadDeadline(deadline)
		n, err := s.conn.Read(buf)
		if nobody, ok := err.(*net.OpError); ok && !nobody.Timeout() && time.Now().Before(deadline) {
			continue // nobody listens on the port, for the moment
		}
		if err != nil {
			return nil, err
		}
		return mqttsn.Decode(buf[:n])
	}
}

func is[P mqttsn.Packet](p mqttsn.Packet) bool {
	_, ok := p.(P)
	return ok
}

// connect connects without CleanSession.
func (s *sleeper) connect() error {
	return s.ask(&mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, Duration: keepAlive, ClientID: []byte(s.id)}, func(p mqttsn.Packet) bool {
		connack, ok := p.(*mqttsn.Connack)
		return ok && connack.ReturnCode == mqttsn.Accepted
	})
}

func (s *sleeper) subscribe(topic string) error {
	return s.ask(&mqttsn.Subscribe{QoS: mqttsn.QoS2, MsgID: s.nextMsgID(), TopicName: []byte(topic)}, func(p mqttsn.Packet) bool {
		suback, ok := p.(*mqttsn.Suback)
		if ok && suback.ReturnCode == mqttsn.Accepted {
			s.names[suback.TopicID] = topic
		}
		return ok && suback.ReturnCode == mqttsn.Accepted
	})
}

func (s *sleeper) sleep(seconds uint16) error {
	return s.ask(&mqttsn.Disconnect{HasDuration: true, Duration: seconds}, is[*mqttsn.Disconnect])
}

// wake collects what waits; PINGRESP has to be the last packet.
func (s *sleeper) wake() error {
	if err := s.ask(&mqttsn.Pingreq{ClientID: []byte(s.id)}, is[*mqttsn.Pingresp]); err != nil {
		return err
	}
	if p, err := s.receive(time.Now().Add(20 * time.Millisecond)); err == nil && !is[*mqttsn.Pingresp](p) {
		return fmt.Errorf("%s: %v after PINGRESP", s.id, p.Type())
	}
	return nil
}
