package upstream

import (
	"slices"
	"testing"

	"mqttsn-gateway/broker"
)

// two brokers, and one Broker that knows both in this order.
func two(t *testing.T) (*served, *fake, *fake) {
	first, second := startFake(t), startFake(t)
	o := quick(first.address)
	o.URL += ", mqtt://" + second.address
	return serve(t, o), first, second
}

// When the first broker is lost, its clients go on at the second one, which has never
// heard of them: subscriptions are made again, and what was not acknowledged is sent again.
func TestFailover(t *testing.T) {
	b, first, second := two(t)
	d := b.open(t, "c")
	d.do(broker.Request{Op: broker.Connect, Token: 1})
	p := first.welcomed(false)
	d.answer(1, 0)
	d.do(broker.Request{Op: broker.Subscribe, Token: 2, Topic: "s", QoS: 1})
	p.suback(p.subscribe("s").PacketID, 1)
	d.answer(2, 0)
	d.publish(3, "t", "one", 1)
	p.publish("one", 1, false)
	first.shut()

	p = second.welcomed(false)
	if p.connect.CleanStart || p.connect.ClientID != "c" {
		t.Errorf("connects with %+v", p.connect)
	}
	p.suback(p.subscribe("s").PacketID, 1)
	p.puback(p.publish("one", 1, false).PacketID, 0)
	d.answer(3, 0)
	p.deliver(7, "hello", 1, false)
	d.message("t", "hello")
	if n := first.tries.Load(); n != 1 {
		t.Errorf("%d clients at the first broker", n)
	}
}

// A broker that answers the clients but not the probe is not healthy: all leave it.
func TestFailoverPartsClients(t *testing.T) {
	b, first, second := two(t)
	d := b.open(t, "c")
	d.do(broker.Request{Op: broker.Connect, Token: 1})
	p := first.welcomed(false)
	d.answer(1, 0)
	first.mute.Store(true)
	if _, err := p.read(); err == nil {
		t.Error("the first broker got another packet")
	}
	second.welcomed(false)
	await(t, "the log names the second broker", func() bool { return b.logs.count("address="+second.address) == 1 })
}

func TestFailoverFromOldBroker(t *testing.T) {
	first, second := startFake(t), startFake(t)
	first.old.Store(true)
	o := quick(first.address)
	o.URL += ",mqtt://" + second.address
	d := serve(t, o).open(t, "c")
	d.do(broker.Request{Op: broker.Connect, Token: 1})
	second.welcomed(true)
	if ev := d.answer(1, 0); !ev.SessionPresent {
		t.Error("no session present")
	}
}

func TestOldBrokersOnly(t *testing.T) {
	first, second := startFake(t), startFake(t)
	first.old.Store(true)
	second.old.Store(true)
	o := quick(first.address)
	o.URL += ",mqtt://" + second.address
	d := serve(t, o).open(t, "c")
	d.do(broker.Request{Op: broker.Connect, Token: 1})
	d.answer(1, codeProtocolVersion)
}

// A broker that is busy stands aside for one that is not.
func TestFailoverFromBusyBroker(t *testing.T) {
	b, first, second := two(t)
	first.refuse.Store(0x89)
	d := b.open(t, "c")
	d.do(broker.Request{Op: broker.Connect, Token: 1})
	p := second.welcomed(false)
	d.answer(1, 0)
	d.publish(2, "t", "x", 1)
	p.puback(p.publish("x", 1, false).PacketID, 0)
	d.answer(2, 0)
}

func TestAddresses(t *testing.T) {
	o := Options{URL: "mqtt://a, mqtt://b:7,mqtts://[::1],wss://a"}
	all, err := o.endpoints()
	var got []string
	for _, e := range all {
		got = append(got, address(e))
	}
	if err != nil || !slices.Equal(got, []string{"a:1883", "b:7", "mqtts://[::1]:8883", "wss://a:443/mqtt"}) {
		t.Errorf("%q, %v", got, err)
	}
	for _, url := range []string{"mqtt://a,", ",mqtt://a", "mqtt://a,mqtt://a:1883", "ws://a,ws://a:80/mqtt", "mqtt://a;mqtt://b", "mqtt://a mqtt://b"} {
		if got, err := (Options{URL: url}).endpoints(); err == nil {
			t.Errorf("%q is taken for %v", url, got)
		}
	}
}
