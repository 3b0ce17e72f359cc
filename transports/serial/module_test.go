package serial

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/serial/framing"
	"mqttsn-gateway/transports/serial/xbee"
)

// module is an XBee module on a fake port: it answers each transmission with what status
// says, after a time; none if ok is false.
type module struct {
	port    *fakePort
	status  func(f transmission) (d xbee.Delivery, after time.Duration, ok bool)
	timeout time.Duration // after which the link takes a packet without status for lost

	mu   sync.Mutex // guards what follows
	sent []transmission
	hand map[transports.Addr]int // without status yet
	most int                     // ever in hand
}

// transmission is what the module was asked to send.
type transmission struct {
	at    time.Time
	to    transports.Addr // as the link has it
	frame xbee.Frame
	id    byte
	data  []byte
	old   bool // with the frames of 802.15.4 firmware
}

func newModule(t testing.TB, o Options) *module {
	m := &module{port: newFakePort(o.Baud), timeout: o.StatusTimeout, hand: map[transports.Addr]int{}}
	m.status = func(transmission) (xbee.Delivery, time.Duration, bool) { return 0, 20 * time.Millisecond, true }
	decoder := framing.XBee(o.APIMode).NewDecoder()
	m.port.heard = func(octets []byte) {
		decoder.Decode(octets, func(packet []byte) {
			f, err := xbee.Parse(bytes.Clone(packet))
			if err != nil {
				t.Error(err)
				return
			}
			m.transmit(t, f, o.APIMode)
		})
	}
	return m
}

func (m *module) transmit(t testing.TB, frame xbee.Frame, mode int) {
	s := transmission{at: time.Now(), frame: frame}
	switch f := frame.(type) {
	case *xbee.Transmit:
		s.to, s.id, s.data = nodeAddr(f.To), f.ID, f.Data
		if f.To == unknown64 {
			s.to = shortAddr(f.To16)
		}
	case *xbee.Transmit64:
		s.to, s.id, s.data, s.old = nodeAddr(f.To), f.ID, f.Data, true
	case *xbee.Transmit16:
		s.to, s.id, s.data, s.old = shortAddr(f.To), f.ID, f.Data, true
	default:
		t.Errorf("the module was sent a %T", frame)
		return
	}
	if s.id == 0 {
		t.Error("a transmission without status")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, s)
	m.hand[s.to]++
	if m.hand[s.to] > 1 {
		t.Errorf("two packets in hand for %v", s.to)
	}
	m.most = max(m.most, len(m.hand))
	d, after, ok := m.status(s)
	if !ok {
		after = m.timeout - time.Millisecond
	}
	time.AfterFunc(after, func() {
		m.mu.Lock()
		delete(m.hand, s.to)
		m.mu.Unlock()
		if !ok {
			return
		}
		if s.old {
			m.say(mode, xbee.Status802{ID: s.id, Status: byte(d)})
		} else {
			m.say(mode, xbee.TransmitStatus{ID: s.id, Delivery: d})
		}
	})
}

func (m *module) say(mode int, f xbee.Frame) {
	m.port.in <- framing.XBee(mode).Append(nil, f.Append(nil))
}

// reset makes the module forget what it has in hand.
func (m *module) reset(mode int) {
	m.mu.Lock()
	clear(m.hand)
	m.mu.Unlock()
	m.say(mode, xbee.ModemStatus{Status: hardwareReset})
}

// transmissions are those so far.
func (m *module) transmissions() []transmission {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]transmission{}, m.sent...)
}
