package session

import (
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// spoofed is a session at an address that may be forged, with a count of what goes each way.
type spoofed struct {
	*testing.T
	s        *Session
	fx       Effects
	now      time.Time
	in, out  int
	last     []mqttsn.Packet
	token    broker.Token
	probes   int
	unproven int
}

func newSpoofed(t *testing.T, o Options, id string) *spoofed {
	t.Helper()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	p := &spoofed{T: t, s: New(id, &o, 99), now: time.Unix(1e9, 0)}
	p.s.SetPath(Path{Forgeable: true, Seed: 4711})
	return p
}

// from lets a packet of the client come, and the broker accept whatever it asks.
func (p *spoofed) from(packet mqttsn.Packet) {
	data := packet.Append(nil)
	decoded, err := mqttsn.Decode(data)
	if err != nil {
		p.Fatalf("%v: %v", packet, err)
	}
	p.in += len(data)
	p.s.Heard(len(data))
	p.s.Packet(p.now, decoded, &p.fx)
	p.done()
}

func (p *spoofed) done() {
	for i := 0; i < len(p.fx.Requests); i++ {
		switch r := p.fx.Requests[i]; r.Op {
		case broker.Connect, broker.Subscribe, broker.Unsubscribe, broker.Publish:
			if r.Op != broker.Publish || r.QoS > 0 {
				p.s.Broker(p.now, broker.Event{Kind: broker.Answered, Token: r.Token, QoS: r.QoS}, &p.fx)
			}
		}
	}
	p.last = nil
	for data := range p.fx.Packets() {
		p.out += len(data)
		d, err := mqttsn.Decode(append([]byte(nil), data...))
		if err != nil {
			p.Fatal(err)
		}
		p.last = append(p.last, d)
	}
	p.probes += p.fx.Probes
	p.unproven += p.fx.Unproven
	p.fx.Reset()
}

func (p *spoofed) deliver(topic string, qos byte, payload int) {
	p.token++
	m := &broker.Message{Topic: topic, Payload: make([]byte, payload), QoS: qos}
	p.s.Broker(p.now, broker.Event{Kind: broker.Delivered, Token: p.token, QoS: qos, Message: m}, &p.fx)
	p.done()
}

// wait lets time pass, with all that becomes due.
func (p *spoofed) wait(d time.Duration) {
	end := p.now.Add(d)
	for at := p.s.Deadline(); !at.IsZero() && !at.After(end); at = p.s.Deadline() {
		p.now = at
		sent := p.last
		p.s.Expire(p.now, &p.fx)
		p.done()
		p.last = append(sent, p.last...)
	}
	p.now = end
}

func (p *spoofed) types() string {
	var names []string
	for _, packet := range p.last {
		names = append(names, packet.Type().String())
	}
	return strings.Join(names, " ")
}

func (p *spoofed) want(types string) {
	p.Helper()
	if got := p.types(); got != types {
		p.Fatalf("sent %q, want %q", got, types)
	}
}

func (p *spoofed) wantAmplification() {
	p.Helper()
	if p.out > p.s.o.MaxAmplification*p.in {
		p.Fatalf("%d octets sent for %d", p.out, p.in)
	}
}

func (p *spoofed) connected() {
	p.from(mqttsn.Connect{ProtocolID: 1, Duration: 600, ClientID: []byte(p.s.id)})
	p.want("CONNACK")
}

func (p *spoofed) subscribed(filter string, qos mqttsn.QoS) {
	p.from(mqttsn.Subscribe{QoS: qos, MsgID: 1, TopicName: []byte(filter)})
	p.want("SUBACK")
}

// A message that fits goes out at once, and its acknowledgement proves the address: whatever
// comes then is not waited for.
func TestProofByAcknowledgement(t *testing.T) {
	for qos := range byte(2) {
		p := newSpoofed(t, DefaultOptions(), "thermostat")
		p.connected()
		p.subscribed("set/temperature", mqttsn.QoS1)
		p.deliver("set/temperature", qos+1, 20)
		p.want("PUBLISH")
		id := p.last[0].(*mqttsn.Publish).MsgID
		if qos == 0 {
			p.from(mqttsn.Puback{MsgID: id})
		} else {
			p.from(mqttsn.Pubrec{MsgID: id})
			p.from(mqttsn.Pubcomp{MsgID: id})
		}
		p.deliver("set/temperature", 0, 40_000)
		p.want("PUBLISH")
		if p.unproven != 0 || p.probes != 0 {
			t.Errorf("QoS %d: %d messages waited, %d probes", qos+1, p.unproven, p.probes)
		}
	}
}

// A first message that is too large waits for one round trip.
func TestProofOfALargeMessage(t *testing.T) {
	for qos := range byte(3) {
		p := newSpoofed(t, DefaultOptions(), "thermostat")
		p.connected()
		p.subscribed("set/+", mqttsn.QoS2)
		p.subscribed("set/temperature", mqttsn.QoS2)
		p.deliver("set/temperature", qos, 1000)
		p.want("REGISTER")
		p.wantAmplification()
		r := p.last[0].(*mqttsn.Register)
		p.from(mqttsn.Regack{TopicID: r.TopicID, MsgID: r.MsgID})
		p.want("PUBLISH")
		if p.unproven != 1 || p.probes != 1 {
			t.Errorf("QoS %d: %d messages waited, %d probes", qos, p.unproven, p.probes)
		}
	}
}

// A client that acknowledges nothing, as it has only QoS 0, is asked before anything has to
// wait, and now and then again: it gets every message at once.
func TestProofWithQoS0(t *testing.T) {
	for _, filter := range []string{"news", "news/#", "+/sport", "#"} {
		topic := strings.NewReplacer("#", "sport", "+", "news").Replace(filter)
		p := newSpoofed(t, DefaultOptions(), "display")
		p.connected()
		p.subscribed(filter, mqttsn.QoS0)
		got := 0
		for range 5000 {
			p.deliver(topic, 0, 30)
			for _, packet := range p.last {
				switch packet := packet.(type) {
				case *mqttsn.Publish:
					got++
				case *mqttsn.Register:
					p.from(mqttsn.Regack{TopicID: packet.TopicID, MsgID: packet.MsgID})
				}
			}
		}
		t.Logf("%s: 5000 messages with QoS 0, %d octets: %d waited for a proof, %d probes", filter, p.out, p.unproven, p.probes)
		// One message for a topic that the client has to be told first leaves with its REGACK.
		if got < 4999 || p.unproven > 0 || p.probes > 5 {
			t.Errorf("%s: %d messages, %d waited, %d probes", filter, got, p.unproven, p.probes)
		}
	}
}

// A client that does not know REGISTER answers a PUBLISH with an unknown topic id.
func TestProofWithoutRegister(t *testing.T) {
	p := newSpoofed(t, DefaultOptions(), "emcute")
	p.connected()
	p.subscribed("news", mqttsn.QoS0)
	p.deliver("news", 0, 1000)
	p.want("REGISTER")
	p.last = nil
	p.wait(10 * time.Second)
	p.want("PUBLISH")
	p.wantAmplification()
	probe := p.last[0].(*mqttsn.Publish)
	if probe.TopicID != 0 || probe.QoS != mqttsn.QoS1 || len(probe.Data) != 0 {
		t.Fatalf("%+v", probe)
	}
	p.from(mqttsn.Puback{MsgID: probe.MsgID, ReturnCode: mqttsn.InvalidTopicID})
	p.want("PUBLISH")
	if len(p.last[0].(*mqttsn.Publish).Data) != 1000 {
		t.Error("another message")
	}
}

// Who never proves its address gets what it has paid for, and QoS 0 messages that cannot be
// delivered are dropped with their reason.
func TestProofThatNeverComes(t *testing.T) {
	p := newSpoofed(t, DefaultOptions(), "victim")
	p.connected()
	p.subscribed("news", mqttsn.QoS0)
	for range 1000 {
		p.deliver("news", 0, 100)
		p.from(mqttsn.Pingreq{})
		p.wait(time.Second)
		p.wantAmplification()
	}
	t.Logf("1000 messages of 107 octets, 1000 PINGREQ of 2: %d octets in, %d out, factor %.2f", p.in, p.out, float64(p.out)/float64(p.in))
}

// Guessing does not pay: wrong acknowledgements bring no credit, and what was told to another
// address, or follows from it, proves nothing.
func TestProofCannotBeCarriedAlong(t *testing.T) {
	p := newSpoofed(t, DefaultOptions(), "thief")
	p.connected()
	p.subscribed("news", mqttsn.QoS1)
	p.deliver("news", 1, 10)
	first := p.last[0].(*mqttsn.Publish).MsgID
	p.from(mqttsn.Puback{MsgID: first})
	p.deliver("news", 1, 20)
	known := p.last[0].(*mqttsn.Publish).MsgID
	stride := known - first
	// Here somebody else's address begins.
	p.s.Moved()
	p.s.SetPath(Path{Forgeable: true, Seed: 815})
	p.in, p.out = 0, 0
	p.from(mqttsn.Connect{ProtocolID: 1, Duration: 600, ClientID: []byte("thief")})
	p.from(mqttsn.Puback{MsgID: known})
	for i := range 100 {
		p.deliver("news", 1, 500)
		p.from(mqttsn.Puback{MsgID: known + stride*uint16(i)})
		p.from(mqttsn.Regack{MsgID: known + stride*uint16(i)})
		p.from(mqttsn.Pubrec{MsgID: known + stride*uint16(i)})
	}
	if p.s.proof.proven {
		t.Fatal("the address is proven by numbers that were known before")
	}
	p.wantAmplification()
	before := p.s.proof.credit
	for id := range uint16(1000) {
		p.from(mqttsn.Puback{MsgID: id})
	}
	if after := p.s.proof.credit; after > before && !p.s.proof.proven {
		t.Errorf("1000 guesses brought %d octets", after-before)
	}
}

// A sleeper gets all its messages in its first wake, PINGRESP last, whatever fits at first.
func TestProofOfASleeper(t *testing.T) {
	for _, qos := range []byte{0, 1, 2} {
		for _, payload := range []int{0, 10, 100, 1000} {
			p := newSpoofed(t, DefaultOptions(), "meter-0815")
			p.connected()
			p.subscribed("cmd", mqttsn.QoS2)
			p.from(mqttsn.Disconnect{HasDuration: true, Duration: 60})
			for range 20 {
				p.deliver("cmd", qos, payload)
			}
			p.s.Moved() // its network has given it another port meanwhile
			p.s.SetPath(Path{Forgeable: true, Seed: 12})
			p.in, p.out = 0, 0
			p.from(mqttsn.Pingreq{ClientID: []byte("meter-0815")})
			p.wantAmplification()
			got, asleep := 0, false
			for todo := p.last; len(todo) > 0; {
				packet := todo[0]
				todo = todo[1:]
				switch packet := packet.(type) {
				case *mqttsn.Register:
					p.from(mqttsn.Regack{TopicID: packet.TopicID, MsgID: packet.MsgID})
				case *mqttsn.Publish:
					if len(packet.Data) == payload && packet.TopicID != 0 {
						got++
					}
					switch packet.QoS {
					case mqttsn.QoS1:
						p.from(mqttsn.Puback{TopicID: packet.TopicID, MsgID: packet.MsgID})
					case mqttsn.QoS2:
						p.from(mqttsn.Pubrec{MsgID: packet.MsgID})
					default:
						p.last = nil
					}
				case *mqttsn.Pubrel:
					p.from(mqttsn.Pubcomp{MsgID: packet.MsgID})
				case *mqttsn.Pingresp:
					asleep = true
					p.last = nil
				}
				todo = append(todo, p.last...)
			}
			if got != 20 || !asleep {
				t.Errorf("QoS %d, %d octets: %d of 20 messages, PINGRESP %v", qos, payload, got, asleep)
			}
		}
	}
}

// With 0 nothing is counted.
func TestProofOff(t *testing.T) {
	o := DefaultOptions()
	o.MaxAmplification = 0
	p := newSpoofed(t, o, "c")
	p.connected()
	p.subscribed("news", mqttsn.QoS0)
	p.deliver("news", 0, 60_000)
	p.want("PUBLISH")
}

// What a forwarder puts around each packet counts both ways.
func TestProofCountsFrames(t *testing.T) {
	o := DefaultOptions()
	s := New("c", &o, 1)
	s.SetPath(Path{Forgeable: true, Frame: 20, Credit: 100})
	var fx Effects
	fx.pingresp()
	s.charge(&fx)
	if s.proof.credit != 100-22 {
		t.Errorf("%d octets are left of 100 after a packet of 2 in a frame of 20", s.proof.credit)
	}
	if s.affords(37, 0, &fx) || !s.affords(36, 0, &fx) { // and a DISCONNECT in its frame
		t.Error("the frame does not count")
	}
}
