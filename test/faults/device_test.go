package faults

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"
)

// device is an MQTT-SN 1.2 client that keeps to the letter of it and gives up nothing: it
// sends again what is not answered, with the same MsgId and with DUP, connects again
// without CleanSession when it is told DISCONNECT or hears nothing, and remembers over all
// that its unfinished message, its topic ids and what it has received with QoS 2.
type device struct {
	id        string
	publisher uint32
	ledger    *Ledger
	conn      net.Conn
	// retry is T_retry; patience is after how many repetitions it believes that it has
	// lost its connection; pause is the time from one message to the next.
	retry    time.Duration
	patience int
	pause    time.Duration
	// topics are those that it publishes to, in turn, with QoS 1 and 2 alternately;
	// filters those that it subscribes to, with QoS 2.
	topics, filters []string
	// more is asked before each new message.
	more func() bool
	// resting is set while it has nothing unfinished and wants no more; settled once it is
	// connected and has subscribed for the first time.
	resting, settled atomic.Bool

	connected  bool
	subscribed int
	lastMsgID  uint16
	ids        map[string]uint16
	names      map[uint16]string
	flight     *flight
	unreleased map[uint16]bool
	turn       int

	// at is when it sends its request again, or has the next one; tries is how often it
	// has sent it. control is the MsgId of a REGISTER or SUBSCRIBE.
	at, heard time.Time
	tries     int
	control   uint16

	figures figures
}

// figures are what a device has met with.
type figures struct {
	connects, disconnects, unknownIDs, congestions, refusals int
}

func (f *figures) add(more figures) {
	f.connects += more.connects
	f.disconnects += more.disconnects
	f.unknownIDs += more.unknownIDs
	f.congestions += more.congestions
	f.refusals += more.refusals
}

// flight is the message that the gateway has not taken to the end.
type flight struct {
	topic    string
	qos      mqttsn.QoS
	sequence uint64
	payload  []byte
	msgID    uint16
	// sent: it has left once. released: PUBREC has come.
	sent, released bool
}

// idle is when a device that hears nothing asks for a sign of life.
const idle = time.Second

// keepAlive is what devices announce, in seconds: longer than the gateway is ever away.
const keepAlive = 600

// newDevice is a device with a socket of its own, which it keeps for life.
func newDevice(t testing.TB, l *Ledger, addr, id string, publisher uint32) *device {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return &device{id: id, publisher: publisher, ledger: l, conn: conn, retry: 200 * time.Millisecond, patience: 15,
		more: func() bool { return false }, ids: map[string]uint16{}, names: map[uint16]string{}, unreleased: map[uint16]bool{}}
}

// run goes on until the connection is closed.
func (d *device) run() {
	buf := make([]byte, 2048)
	for {
		now := time.Now()
		if !now.Before(d.at) {
			d.act(now)
		}
		_ = d.conn.SetReadDeadline(d.at)
		n, err := d.conn.Read(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			continue // it is time for the next step, or nobody listens on the port
		}
		if p, err := mqttsn.Decode(buf[:n]); err == nil {
			d.heard = time.Now()
			d.hear(p)
		}
	}
}

// act sends the request that is due, for the first time or again.
func (d *device) act(now time.Time) {
	if d.connected && d.tries > d.patience {
		d.lose()
	}
	p := d.request()
	if p == nil {
		d.at = now.Add(max(d.pause, 10*time.Millisecond))
		if now.Sub(d.heard) < idle {
			return
		}
		p = &mqttsn.Pingreq{}
	}
	d.tries++
	d.at = now.Add(d.retry)
	d.send(p)
}

// progress lets the next request go at once.
func (d *device) progress() { d.tries, d.at, d.control = 0, time.Time{}, 0 }

// lose is the end of the connection.
func (d *device) lose() {
	d.connected = false
	d.progress()
}

func (d *device) send(p mqttsn.Packet) { _, _ = d.conn.Write(p.Append(nil)) }

// request is what the device wants now; nil if it wants nothing.
func (d *device) request() mqttsn.Packet {
	switch {
	case !d.connected:
		return &mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, Duration: keepAlive, ClientID: []byte(d.id)}
	case d.subscribed < len(d.filters):
		return &mqttsn.Subscribe{DUP: d.tries > 0, QoS: mqttsn.QoS2, MsgID: d.controlID(), TopicName: []byte(d.filters[d.subscribed])}
	}
	d.settled.Store(true)
	if d.flight == nil && !d.take() {
		return nil
	}
	f := d.flight
	if f.released {
		return &mqttsn.Pubrel{MsgID: f.msgID}
	}
	id, known := d.ids[f.topic]
	if !known {
		return &mqttsn.Register{MsgID: d.controlID(), TopicName: []byte(f.topic)}
	}
	again := f.sent
	f.sent = true
	return &mqttsn.Publish{DUP: again, QoS: f.qos, TopicID: id, MsgID: f.msgID, Data: f.payload}
}

// take begins the next message; false if there is none.
func (d *device) take() bool {
	if len(d.topics) == 0 || !d.more() {
		d.resting.Store(true)
		return false
	}
	d.resting.Store(false)
	f := &flight{topic: d.topics[d.turn%len(d.topics)], qos: mqttsn.QoS(1 + d.turn%2), msgID: d.nextMsgID()}
	f.sequence, f.payload = d.ledger.Attempt(d.publisher, f.topic, byte(f.qos))
	d.turn++
	d.flight = f
	return true
}

// landed ends the flight.
func (d *device) landed() {
	d.flight = nil
	d.progress()
	d.at = time.Now().Add(d.pause)
}

func (d *device) controlID() uint16 {
	if d.control == 0 {
		d.control = d.nextMsgID()
	}
	return d.control
}

// nextMsgID is one that no unfinished exchange has.
func (d *device) nextMsgID() uint16 {
	for {
		d.lastMsgID++
		if d.lastMsgID != 0 && (d.flight == nil || d.flight.msgID != d.lastMsgID) {
			return d.lastMsgID
		}
	}
}

// fleet is a number of devices that run.
type fleet struct {
	devices []*device
	running sync.WaitGroup
}

func (f *fleet) add(t testing.TB, devices ...*device) {
	f.devices = append(f.devices, devices...)
	for _, d := range devices {
		f.running.Go(d.run)
	}
	t.Cleanup(func() { f.stop() })
}

// stop ends all devices and sums what they have met with.
func (f *fleet) stop() (sum figures) {
	for _, d := range f.devices {
		_ = d.conn.Close()
	}
	f.running.Wait()
	for _, d := range f.devices {
		sum.add(d.figures)
	}
	return sum
}

// settled reports whether all are connected and subscribed.
func (f *fleet) settled() bool {
	return !slices.ContainsFunc(f.devices, func(d *device) bool { return !d.settled.Load() })
}

// resting reports whether none has anything unfinished.
func (f *fleet) resting() bool {
	return !slices.ContainsFunc(f.devices, func(d *device) bool { return !d.resting.Load() })
}
