package embedded

import (
	"errors"
	"fmt"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

var _ broker.Broker = (*Broker)(nil)

func TestDevicesReachEachOther(t *testing.T) {
	b := newBroker(t)
	from, to := connected(t, b, "from", true), connected(t, b, "to", true)
	to.subscribe("a/+", 1)
	payload := []byte("on")
	from.do(broker.Request{Op: broker.Publish, Token: 9, Topic: "a/b", Payload: payload, QoS: 2})
	copy(payload, "XX") // valid only during Do
	if ev := from.answer(); ev.Token != 9 {
		t.Errorf("answered token %d, want 9", ev.Token)
	}
	to.ack(to.delivered("on", 1))
	from.publish("a/b", "0", 0, false)
	from.quiet()
	if token := to.delivered("0", 0); token != 0 {
		t.Errorf("token %d of a QoS 0 delivery, want 0", token)
	}
	from.publish("b/b", "x", 1, false)
	to.quiet()
	if n := b.Stats().QueuedMessages; n != 0 {
		t.Errorf("%d messages are still queued", n)
	}
}

func TestUnconnectedDeviceIsRefused(t *testing.T) {
	b := newBroker(t)
	d := open(t, b, "d")
	for op := broker.Publish; op <= broker.Abandon; op++ {
		if err := d.Do(&broker.Request{Op: op, Topic: "a"}); !errors.Is(err, broker.ErrClosed) {
			t.Errorf("op %d: %v, want ErrClosed", op, err)
		}
	}
	d.quiet()
	if n := b.Stats().Sessions; n != 0 {
		t.Errorf("%d sessions before the first Connect", n)
	}
}

// What is un-acknowledged comes again first, in order, with the same tokens.
func TestDeviceRedelivery(t *testing.T) {
	b := newBroker(t, func(o *Options) { o.DeviceInflight = 4 })
	d := connected(t, b, "d", false)
	d.subscribe("#", 1)
	from := connected(t, b, "from", true)
	for i := range 10 {
		from.publish("t", fmt.Sprint(i), 1, false)
	}
	var tokens []broker.Token
	for i := range 4 {
		tokens = append(tokens, d.delivered(fmt.Sprint(i), 1))
	}
	d.quiet() // the receive maximum
	d.ack(tokens[1])
	tokens = append(tokens, d.delivered("4", 1))
	d.do(broker.Request{Op: broker.Disconnect})
	from.publish("t", "10", 1, false)
	d.quiet()
	for range 2 {
		d.do(broker.Request{Op: broker.Connect})
		if !d.answer().SessionPresent {
			t.Fatal("no session present")
		}
		for _, i := range []int{0, 2, 3, 4} {
			if token := d.delivered(fmt.Sprint(i), 1); token != tokens[i] {
				t.Errorf("message %d has token %d now, had %d", i, token, tokens[i])
			}
		}
		d.quiet()
	}
	for _, i := range []int{0, 2, 3, 4} {
		d.ack(tokens[i])
	}
	for i := 5; i <= 10; i++ {
		d.ack(d.delivered(fmt.Sprint(i), 1))
	}
	d.quiet()
}

func TestDeviceCleanSession(t *testing.T) {
	b := newBroker(t)
	d := connected(t, b, "d", true)
	d.subscribe("#", 1)
	d.do(broker.Request{Op: broker.Disconnect})
	if st := b.Stats(); st.Sessions != 0 || st.Subscriptions != 0 {
		t.Errorf("after a clean session: %+v", st)
	}
	d.do(broker.Request{Op: broker.Connect})
	if d.answer().SessionPresent {
		t.Error("the clean session was kept")
	}
	d.subscribe("#", 1)
	d.do(broker.Request{Op: broker.Connect, CleanSession: true})
	if d.answer().SessionPresent {
		t.Error("a session is present though a clean one was wanted")
	}
	d.publish("t", "x", 1, false)
	d.quiet()
}

func TestDeviceWill(t *testing.T) {
	b := newBroker(t)
	watcher := connected(t, b, "watcher", true)
	watcher.subscribe("w/#", 2)
	will := &broker.Message{Topic: "w/1", Payload: []byte("lost"), QoS: 1}
	d := open(t, b, "d")
	connect := func() {
		d.do(broker.Request{Op: broker.Connect, Will: will})
		d.answer()
	}
	connect()
	d.do(broker.Request{Op: broker.Abandon})
	watcher.ack(watcher.delivered("lost", 1))
	connect()
	d.do(broker.Request{Op: broker.Disconnect})
	watcher.quiet()
	connect()
	d.do(broker.Request{Op: broker.SetWill, Will: &broker.Message{Topic: "w/2", Payload: []byte("new")}})
	d.do(broker.Request{Op: broker.Abandon})
	watcher.delivered("new", 0)
	connect()
	d.do(broker.Request{Op: broker.SetWill})
	d.do(broker.Request{Op: broker.Abandon})
	watcher.quiet()
	connect()
	connect() // again over the same Conn: it was not lost
	watcher.quiet()
	connected(t, b, "d", false) // from elsewhere
	watcher.delivered("lost", 1)
	d.do(broker.Request{Op: broker.Connect, Will: &broker.Message{Topic: "w/#"}})
	if ev := d.take(); ev[len(ev)-1].Code != broker.CodeTopicName {
		t.Errorf("a will with a wildcard: %+v", ev)
	}
}

func TestDeviceBadRequests(t *testing.T) {
	b := newBroker(t, func(o *Options) { o.MaxTopicLevels = 3; o.MaxSubscriptions = 2; o.MaxPacketSize = 1024 })
	d := connected(t, b, "d", true)
	for _, c := range []struct {
		r    broker.Request
		want broker.Code
	}{
		{broker.Request{Op: broker.Publish, Topic: "", QoS: 1}, broker.CodeTopicName},
		{broker.Request{Op: broker.Publish, Topic: "a/+", QoS: 1}, broker.CodeTopicName},
		{broker.Request{Op: broker.Publish, Topic: "a/b/c/d", QoS: 1}, broker.CodeTopicName},
		{broker.Request{Op: broker.Publish, Topic: "$SYS/x", QoS: 1}, broker.CodeNotAuthorized},
		{broker.Request{Op: broker.Publish, Topic: "a", QoS: 1, Payload: make([]byte, 1025)}, broker.CodePacketTooLarge},
		{broker.Request{Op: broker.Publish, Topic: "$other/x", QoS: 1}, broker.CodeNoSubscribers},
		{broker.Request{Op: broker.Subscribe, Topic: ""}, broker.CodeTopicFilter},
		{broker.Request{Op: broker.Subscribe, Topic: "a#"}, broker.CodeTopicFilter},
		{broker.Request{Op: broker.Subscribe, Topic: "a/b/c/d"}, broker.CodeTopicFilter},
		{broker.Request{Op: broker.Subscribe, Topic: "1"}, broker.CodeSuccess},
		{broker.Request{Op: broker.Subscribe, Topic: "2"}, broker.CodeSuccess},
		{broker.Request{Op: broker.Subscribe, Topic: "2"}, broker.CodeSuccess},
		{broker.Request{Op: broker.Subscribe, Topic: "3"}, broker.CodeQuota},
		{broker.Request{Op: broker.Unsubscribe, Topic: "none"}, broker.CodeSuccess},
	} {
		d.do(c.r)
		if ev := d.next(); ev.Kind != broker.Answered || ev.Code != c.want {
			t.Errorf("%+v: %+v, want code %#x", c.r, ev, c.want)
		}
	}
	d.publish("a/+", "x", 0, false)
	d.publish("$SYS/x", "x", 0, false)
	st := b.Stats()
	if st.Dropped["invalid_topic"] != 4 || st.Dropped["not_authorized"] != 2 {
		t.Errorf("dropped %v", st.Dropped)
	}
}

func TestTakeover(t *testing.T) {
	b := serve(t)
	d := connected(t, b, "x", false)
	d.subscribe("t", 1)

	// An MQTT client takes over a device, and gets its session.
	p := login(t, b, mqtt.V5, "x", stay)
	if !p.connack.SessionPresent {
		t.Error("the device's session is not present")
	}
	if ev := d.next(); ev.Kind != broker.Closed || ev.Code != broker.CodeTakenOver {
		t.Errorf("the device was told %+v", ev)
	}
	if err := d.Do(&broker.Request{Op: broker.Publish, Topic: "t"}); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("Do after Closed: %v", err)
	}
	from := connected(t, b, "from", true)
	from.publish("t", "1", 1, false)
	b.Flush()
	id := p.gets("1", 1).PacketID

	// And the device takes it back, with the message that the client has not acked.
	d.do(broker.Request{Op: broker.Connect})
	if !d.answer().SessionPresent {
		t.Error("the MQTT client's session is not present")
	}
	if token := d.delivered("1", 1); token != broker.Token(id) {
		t.Errorf("token %d, was %d", token, id)
	}
	b.Flush()
	if code := expect[*mqtt.Disconnect](p).Code; code != mqtt.CodeTakenOver {
		t.Errorf("DISCONNECT %v", code)
	}
	p.closed()

	// MQTT 3.1.1 has no such packet [MQTT-3.1.4-2]: defect 10.
	old := login(t, b, mqtt.V311, "x")
	d2 := connected(t, b, "x", true)
	b.Flush()
	old.closed()
	if n := b.Stats().Sessions; n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
	d2.publish("t", "2", 1, false)
	d.take()
	d.quiet()
}
