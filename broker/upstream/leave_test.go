package upstream

import (
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"mqttsn-gateway/broker"
)

func will(qos byte) *broker.Message {
	return &broker.Message{Topic: "w", Payload: []byte("gone"), QoS: qos, Retain: true}
}

// A lost client's will is published after what the client has published, and before the
// DISCONNECT.
func TestWillIsPublishedOnAbandon(t *testing.T) {
	for qos := byte(0); qos <= 2; qos++ {
		b, _, d, p := exchange(t, nil, true)
		d.do(broker.Request{Op: broker.SetWill, Will: will(qos)})
		d.publish(1, "t", "last words", 1)
		d.do(broker.Request{Op: broker.Abandon})
		if err := d.Do(&broker.Request{Op: broker.Publish, Topic: "t"}); err != broker.ErrClosed {
			t.Fatalf("after Abandon: %v", err)
		}
		last := p.publish("last words", 1, false)
		got := p.publish("gone", qos, false)
		if got.Topic != "w" || !got.Retain {
			t.Fatalf("%v", got)
		}
		if st := b.Stats(); st.Leaving != 1 {
			t.Fatalf("%+v", st)
		}
		p.deliver(5, "late", 1, false) // not acknowledged: it stays with the broker
		p.puback(last.PacketID, 0)
		switch qos {
		case 1:
			p.puback(got.PacketID, 0)
		case 2:
			p.pubrec(got.PacketID, 0)
			p.want(packets.PUBREL)
			p.pubcomp(got.PacketID)
		}
		p.want(packets.DISCONNECT)
		p.wantEnd()
		p.close()
		await(t, "end of the session", func() bool { st := b.Stats(); return st.Leaving == 0 && st.Wills == 1 && st.WillsLost == 0 })
		d.quiet()
	}
}

func TestWillIsForgottenOnDisconnect(t *testing.T) {
	_, f, d, p := exchange(t, nil, true)
	d.do(broker.Request{Op: broker.SetWill, Will: will(1)})
	d.do(broker.Request{Op: broker.Disconnect})
	p.want(packets.DISCONNECT)
	p.wantEnd()
	p.close()
	d.do(broker.Request{Op: broker.Connect, Token: 1, Will: will(1)})
	p = f.welcomed(false)
	d.answer(1, 0)
	d.do(broker.Request{Op: broker.SetWill})
	d.do(broker.Request{Op: broker.Abandon})
	p.want(packets.DISCONNECT)
}

// The broker is away when the client is lost; the client comes back before the broker.
// First the will is published, then the client is connected.
func TestWillWhileAwayGoesBeforeTheNextConnect(t *testing.T) {
	b, f, d, p := exchange(t, nil, false)
	d.do(broker.Request{Op: broker.SetWill, Will: will(1)})
	p.close()
	p = f.next() // not answered yet: the broker is as good as away
	d.do(broker.Request{Op: broker.Abandon})
	d.do(broker.Request{Op: broker.Connect, Token: 1})
	p.connack(0, true, nil)
	got := p.publish("gone", 1, false)
	p.puback(got.PacketID, 0)
	p.want(packets.DISCONNECT)
	p.wantEnd()
	d.quiet()
	p.close()
	f.welcomed(true)
	d.answer(1, 0)
	if st := b.Stats(); st.WillsLost != 0 || st.Connected != 1 || st.Leaving != 0 {
		t.Fatalf("%+v", st)
	}
}

func TestWillIsGivenUp(t *testing.T) {
	b, f, d, p := exchange(t, func(o *Options) { o.WillTimeout = time.Second }, false)
	d.do(broker.Request{Op: broker.SetWill, Will: will(1)})
	d.do(broker.Request{Op: broker.Abandon})
	p.publish("gone", 1, false) // never answered
	await(t, "the end", func() bool { st := b.Stats(); return st.WillsLost == 1 && st.Leaving == 0 })
	if b.logs.count("a will could not be published in time") != 1 {
		t.Fatalf("log:\n%s", b.logs)
	}
	p.wantEnd()

	// A will that the broker refuses, in PUBACK and in CONNACK.
	d.do(broker.Request{Op: broker.Connect, Token: 1, Will: will(1)})
	p = f.welcomed(false)
	d.answer(1, 0)
	d.do(broker.Request{Op: broker.Abandon})
	p.puback(p.publish("gone", 1, false).PacketID, 0x87)
	p.want(packets.DISCONNECT)
	d.do(broker.Request{Op: broker.Connect, Token: 2, Will: will(1)})
	p.close()
	p = f.welcomed(false)
	d.answer(2, 0)
	p.close()
	p = f.next()
	d.do(broker.Request{Op: broker.Abandon})
	p.connack(0x87, false, nil)
	await(t, "the end", func() bool { st := b.Stats(); return st.WillsLost == 3 && st.Leaving == 0 })
}

// What is in flight when a client leaves is finished, so that no QoS 2 exchange stays open.
func TestDisconnectFinishesWhatIsInFlight(t *testing.T) {
	_, _, d, p := exchange(t, nil, false)
	d.publish(1, "t", "two", 2)
	d.publish(2, "t", "zero", 0)
	d.do(broker.Request{Op: broker.Disconnect})
	two := p.publish("two", 2, false)
	p.publish("zero", 0, false)
	p.pubrec(two.PacketID, 0)
	p.want(packets.PUBREL)
	p.pubcomp(two.PacketID)
	p.want(packets.DISCONNECT)
	p.wantEnd()
	d.quiet() // no events follow Disconnect
}

// A broker that does not answer does not keep a client from leaving and coming back.
func TestDisconnectFromASilentBroker(t *testing.T) {
	b, f, d, p := exchange(t, nil, true)
	d.publish(1, "t", "one", 1)
	d.do(broker.Request{Op: broker.Disconnect})
	p.publish("one", 1, false)
	d.do(broker.Request{Op: broker.Connect, Token: 2, CleanSession: true})
	p = f.welcomed(false)
	if !p.connect.CleanStart {
		t.Fatal("a clean session finds the one before")
	}
	d.answer(2, 0)
	d.do(broker.Request{Op: broker.Disconnect})
	p.want(packets.DISCONNECT) // and does not close
	await(t, "the end", func() bool { st := b.Stats(); return st.Leaving == 0 && st.Connected == 0 })
}

func TestDisconnectWhileConnecting(t *testing.T) {
	b, f, d, _ := exchange(t, nil, true)
	other := b.open(t, "other")
	other.do(broker.Request{Op: broker.Connect, Token: 1, Will: will(1)})
	p := f.next()
	other.do(broker.Request{Op: broker.Abandon})
	p.wantEnd()
	other.quiet()
	if err := other.Do(&broker.Request{Op: broker.Disconnect}); err != broker.ErrClosed {
		t.Fatalf("%v", err)
	}
	d.quiet()
	// Never connected at all.
	if err := b.Open("x", d).Do(&broker.Request{Op: broker.Publish, Topic: "t"}); err != broker.ErrClosed {
		t.Fatalf("%v", err)
	}
}

// A session that was clean must not be found by one that is not.
func TestCleanSessionLeavesNothing(t *testing.T) {
	_, f, d, p := exchange(t, nil, true)
	p.close()
	p = f.next() // the broker is away, and still has the session
	d.do(broker.Request{Op: broker.Disconnect})
	p.wantEnd()
	d.do(broker.Request{Op: broker.Connect, Token: 1})
	p = f.welcomed(false)
	if !p.connect.CleanStart || *p.connect.Properties.SessionExpiryInterval != 7*24*3600 {
		t.Fatalf("%v", p.connect)
	}
	d.answer(1, 0)
}

func TestConnectAgainWithoutDisconnect(t *testing.T) {
	_, f, d, p := exchange(t, nil, false)
	d.do(broker.Request{Op: broker.Connect, Token: 1})
	p.want(packets.DISCONNECT)
	p.wantEnd()
	p.close()
	f.welcomed(true)
	if ev := d.answer(1, 0); !ev.SessionPresent {
		t.Fatalf("%+v", ev)
	}
}

func TestOutageGrace(t *testing.T) {
	b, f, d, p := exchange(t, func(o *Options) { o.OutageGrace = time.Second }, false)
	p.close()
	begin := time.Now()
	f.next() // never answers
	if ev := d.want(broker.Closed); ev.Code != broker.CodeServerUnavailable {
		t.Fatalf("%+v", ev)
	}
	if took := time.Since(begin); took < 900*time.Millisecond {
		t.Fatalf("closed after %v", took)
	}
	if st := b.Stats(); st.Reconnecting != 0 {
		t.Fatalf("%+v", st)
	}
}

// Serve gives those who leave at the very end a moment, and ends everything else.
func TestServeEnds(t *testing.T) {
	b, f, d, p := exchange(t, nil, false)
	d.publish(1, "t", "zero", 0)
	d.do(broker.Request{Op: broker.Disconnect})
	stay := b.open(t, "stay")
	stay.do(broker.Request{Op: broker.Connect, Token: 1})
	q := f.welcomed(false)
	stay.answer(1, 0)
	wait := b.open(t, "wait")
	wait.do(broker.Request{Op: broker.Connect, Token: 1})
	f.next()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		b.stop()
	}()
	p.publish("zero", 0, false)
	p.want(packets.DISCONNECT)
	p.close()
	<-stopped
	q.wantEnd()
	for _, d := range []*device{d, stay, wait} {
		d.quiet()
		if err := d.Do(&broker.Request{Op: broker.Connect}); err != broker.ErrClosed {
			t.Fatalf("after the end: %v", err)
		}
	}
}
