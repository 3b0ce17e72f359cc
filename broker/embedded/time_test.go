package embedded

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// These tests run in virtual time: clients are connected by pipes.

// inBubble runs a test in virtual time, with a broker that is served.
func inBubble(t *testing.T, f func(t *testing.T, b *Broker), change ...func(*Options)) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, change...)
		run(t, b)
		synctest.Wait()
		f(t, b)
	})
}

func pipe(t *testing.T, b *Broker, v mqtt.Version) *peer {
	client, server := net.Pipe()
	b.serve(new(listener), server)
	return newPeer(t, client, v)
}

func piped(t *testing.T, b *Broker, v mqtt.Version, id string, change ...func(*mqtt.Connect)) *peer {
	t.Helper()
	p := pipe(t, b, v)
	p.connect(id, change...)
	return p
}

// sinceLast reads until the connection ends, and says how long that took.
func (p *peer) untilClosed() time.Duration {
	p.t.Helper()
	start := time.Now()
	for {
		if _, err := p.read(1000 * time.Hour); err != nil {
			return time.Since(start)
		}
	}
}

// Defect 4: keep alive times one and a half, without overflow.
func TestDefect04KeepAliveOverflow(t *testing.T) {
	for _, seconds := range []uint16{1, 10, 43690, 43691, 65535} {
		for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			inBubble(t, func(t *testing.T, b *Broker) {
				p := piped(t, b, v, "c", func(c *mqtt.Connect) { c.KeepAlive = seconds })
				if v == mqtt.V5 {
					if code := expect5(p); code != mqtt.CodeKeepAliveTimeout {
						t.Errorf("DISCONNECT %v", code)
					}
				}
				p.untilClosed()
			})
		}
		inBubble(t, func(t *testing.T, b *Broker) {
			p := piped(t, b, mqtt.V311, "c", func(c *mqtt.Connect) { c.KeepAlive = seconds })
			want := time.Duration(seconds) * 1500 * time.Millisecond
			if took := p.untilClosed(); took != want {
				t.Errorf("keep alive %d: lost after %v, want %v", seconds, took, want)
			}
		})
	}
}

// expect5 waits for DISCONNECT as long as it takes.
func expect5(p *peer) mqtt.Code {
	p.t.Helper()
	packet, err := p.read(1000 * time.Hour)
	if err != nil {
		p.t.Fatal(err)
	}
	return packet.(*mqtt.Disconnect).Code
}

func TestKeepAlive(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		p := piped(t, b, mqtt.V5, "c", func(c *mqtt.Connect) { c.KeepAlive = 10 })
		for range 20 { // it is any packet that counts
			time.Sleep(14 * time.Second)
			p.quiet()
			time.Sleep(14 * time.Second)
			p.send(&mqtt.Publish{Topic: []byte("x")})
		}
		p.quiet()
		if code := expect5(p); code != mqtt.CodeKeepAliveTimeout {
			t.Errorf("DISCONNECT %v", code)
		}
	})
	inBubble(t, func(t *testing.T, b *Broker) { // 0 is for ever
		p := piped(t, b, mqtt.V5, "c")
		time.Sleep(100 * time.Hour)
		p.quiet()
	})
	inBubble(t, func(t *testing.T, b *Broker) { // octets that are no packet do not count
		p := piped(t, b, mqtt.V311, "c", func(c *mqtt.Connect) { c.KeepAlive = 10 })
		go func() {
			for _, octet := range []byte{0x30, 100, 0, 50} {
				time.Sleep(7 * time.Second)
				_, _ = p.conn.Write([]byte{octet})
			}
		}()
		if took := p.untilClosed(); took != 15*time.Second {
			t.Errorf("lost after %v", took)
		}
		time.Sleep(time.Minute)
	})
}

func TestConnectTimeout(t *testing.T) {
	for _, first := range []string{"", "\x10", "\x10\x20\x00\x04MQTT"} {
		inBubble(t, func(t *testing.T, b *Broker) {
			p := pipe(t, b, mqtt.V5)
			if first != "" {
				_, _ = p.conn.Write([]byte(first))
			}
			if took := p.untilClosed(); took != 10*time.Second {
				t.Errorf("%q: closed after %v", first, took)
			}
			synctest.Wait()
			if n := b.Stats().Connections; n != 0 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

func TestSessionExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		leave := func(p *peer, change ...func(*mqtt.Disconnect)) {
			d := new(mqtt.Disconnect)
			for _, f := range change {
				f(d)
			}
			p.send(d)
			p.closed()
			synctest.Wait()
		}
		sessions := func(want int) {
			t.Helper()
			synctest.Wait()
			if n := b.Stats().Sessions; n != want {
				t.Fatalf("%d sessions, want %d", n, want)
			}
		}
		expiry := func(seconds uint32) func(*mqtt.Connect) {
			return func(c *mqtt.Connect) {
				c.CleanStart = false
				c.Properties.SessionExpiry = mqtt.Some(seconds)
			}
		}
		leave(piped(t, b, mqtt.V5, "none", expiry(0)))
		sessions(0)
		leave(piped(t, b, mqtt.V5, "ten", expiry(10)))
		time.Sleep(9 * time.Second)
		sessions(1)
		if p := piped(t, b, mqtt.V5, "ten", expiry(10)); !p.connack.SessionPresent {
			t.Error("no session after 9 s")
		} else {
			time.Sleep(time.Minute) // it does not expire while the client is there
			sessions(1)
			leave(p)
		}
		time.Sleep(11 * time.Second)
		sessions(0)

		p := piped(t, b, mqtt.V5, "longest", expiry(0xFFFFFFFF))
		if got := p.connack.Properties.SessionExpiry; got != mqtt.Some(uint32(3600)) {
			t.Errorf("CONNACK says %+v, the most is an hour", got)
		}
		leave(p)
		time.Sleep(time.Hour - time.Second)
		sessions(1)
		time.Sleep(2 * time.Second)
		sessions(0)

		leave(piped(t, b, mqtt.V5, "changed", expiry(10)), func(d *mqtt.Disconnect) {
			d.Properties.SessionExpiry = mqtt.Some(uint32(60))
		})
		time.Sleep(50 * time.Second)
		sessions(1)
		time.Sleep(11 * time.Second)
		sessions(0)

		p = piped(t, b, mqtt.V5, "from 0", expiry(0)) // [MQTT 5, 3.14.2.2.2]
		d := &mqtt.Disconnect{}
		d.Properties.SessionExpiry = mqtt.Some(uint32(60))
		p.send(d)
		if code := expect[*mqtt.Disconnect](p).Code; code != mqtt.CodeProtocolError {
			t.Errorf("DISCONNECT %v", code)
		}

		leave(piped(t, b, mqtt.V311, "old", func(c *mqtt.Connect) { c.CleanStart = false }))
		device := connected(t, b, "device", false)
		device.do(broker.Request{Op: broker.Disconnect})
		time.Sleep(time.Hour - time.Second)
		sessions(2)
		time.Sleep(2 * time.Second)
		sessions(0)
	}, func(o *Options) { o.SessionExpiryMax = time.Hour })
}

func TestWillDelay(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		watcher := connected(t, b, "watcher", true)
		watcher.subscribe("w/#", 1)
		will := func(delay, expiry uint32) func(*mqtt.Connect) {
			return func(c *mqtt.Connect) {
				c.CleanStart = false
				c.HasWill = true
				c.Will = mqtt.Will{Topic: []byte("w/x"), Payload: []byte("lost"), QoS: 1}
				c.Will.Properties.Delay = mqtt.Some(delay)
				c.Properties.SessionExpiry = mqtt.Some(expiry)
			}
		}
		lose := func(p *peer) {
			p.conn.Close()
			synctest.Wait()
		}
		came := func(after time.Duration) {
			t.Helper()
			time.Sleep(after - time.Millisecond)
			synctest.Wait()
			watcher.quiet()
			time.Sleep(time.Millisecond)
			synctest.Wait()
			watcher.ack(watcher.delivered("lost", 1))
		}
		lose(piped(t, b, mqtt.V5, "c", will(10, 60)))
		came(10 * time.Second)
		lose(piped(t, b, mqtt.V5, "c", will(60, 10))) // the session ends before
		came(10 * time.Second)
		lose(piped(t, b, mqtt.V5, "c", will(60, 0)))
		watcher.ack(watcher.delivered("lost", 1))

		lose(piped(t, b, mqtt.V5, "c", will(10, 60)))
		time.Sleep(9 * time.Second)
		p := piped(t, b, mqtt.V5, "c", will(10, 60)) // back in time [MQTT-3.1.3-9]
		time.Sleep(time.Hour)
		watcher.quiet()
		lose(p)
		piped(t, b, mqtt.V5, "c", func(c *mqtt.Connect) { c.CleanStart = true }) // the old session ends
		watcher.ack(watcher.delivered("lost", 1))

		p = piped(t, b, mqtt.V5, "d", will(10, 60)) // taken over: the session goes on
		q := piped(t, b, mqtt.V5, "d", will(10, 60))
		p.untilClosed()
		time.Sleep(time.Hour)
		watcher.quiet()
		for _, code := range []mqtt.Code{mqtt.CodeDisconnectWithWill, mqtt.CodeUnspecified, mqtt.CodeQuota} { // [MQTT-3.14.4-3]
			q.send(&mqtt.Disconnect{Code: code})
			q.closed()
			came(10 * time.Second)
			q = piped(t, b, mqtt.V5, "d", will(10, 60))
		}
		q.send(&mqtt.Disconnect{})
		q.closed()
		p = piped(t, b, mqtt.V5, "d", will(0, 60))
		p.send(&mqtt.Disconnect{})
		p.closed()
		time.Sleep(time.Hour)
		watcher.quiet()
	})
}

// Defect 9: messages do not expire unless their publisher wants it.
func TestDefect09NothingExpiresByItself(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		d := connected(t, b, "d", false)
		d.subscribe("q", 1)
		d.do(broker.Request{Op: broker.Disconnect})
		from := connected(t, b, "from", true)
		from.publish("q", "queued", 1, false)
		from.publish("r", "retained", 1, true)
		time.Sleep(10 * 24 * time.Hour)
		d.do(broker.Request{Op: broker.Connect})
		if !d.answer().SessionPresent {
			t.Fatal("the session is gone")
		}
		d.delivered("queued", 1)
		d.do(broker.Request{Op: broker.Subscribe, Topic: "r"})
		d.answer()
		d.delivered("retained", 0)
	}, func(o *Options) { o.SessionExpiryMax = 0 })
}

func TestMessageExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		sub := piped(t, b, mqtt.V5, "sub", stay)
		sub.subscribe(1, "q")
		sub.conn.Close()
		synctest.Wait()
		pub := piped(t, b, mqtt.V5, "pub")
		send := func(topic, payload string, seconds uint32, retain bool) {
			m := &mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, PacketID: 1, Retain: retain}
			m.Properties.MessageExpiry = mqtt.Some(seconds)
			pub.send(m)
			expect[*mqtt.Puback](pub)
		}
		send("q", "short", 5, false)
		send("q", "long", 60, false)
		send("r", "short", 5, true)
		send("r2", "long", 60, true)
		time.Sleep(10*time.Second + 100*time.Millisecond)
		sub = piped(t, b, mqtt.V5, "sub", stay)
		left := func(m *mqtt.Publish) {
			t.Helper()
			if e := m.Properties.MessageExpiry; e != mqtt.Some(uint32(50)) { // [MQTT-3.3.2-6]
				t.Errorf("%s expires in %+v, want 50 s", m.Payload, e)
			}
		}
		left(sub.gets("long", 1))
		sub.subscribe(0, "r", "r2")
		left(sub.gets("long", 0))
		sub.quiet()
		if n := b.Stats().Dropped["expired"]; n != 1 {
			t.Errorf("%d expired, want 1", n)
		}
	})
}

// Defect 11: $SYS costs nothing while nobody subscribes to it, and can be switched off.
func TestDefect11Sys(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		time.Sleep(55 * time.Second)
		if b.sys.told() != 0 {
			t.Error("$SYS is published though nobody subscribes")
		}
		d := connected(t, b, "d", true)
		d.subscribe("$SYS/broker/uptime", 0)
		d.delivered("55 seconds", 0)
		for i := range 5 {
			time.Sleep(10 * time.Second)
			synctest.Wait()
			d.delivered(fmt.Sprintf("%d seconds", 60+10*i), 0)
			d.quiet()
		}
		d.do(broker.Request{Op: broker.Subscribe, Topic: "$SYS/#"})
		d.answer()
		synctest.Wait()
		if n := len(d.take()); n != sysTopics {
			t.Errorf("%d topics below $SYS, want %d", n, sysTopics)
		}
	})
	inBubble(t, func(t *testing.T, b *Broker) { // switched off
		d := connected(t, b, "d", true)
		d.subscribe("$SYS/#", 0)
		time.Sleep(time.Hour)
		d.quiet()
	}, func(o *Options) { o.SysInterval = 0 })
}

// A client that asks and does not read the answers is not read from any more, and given
// up when its keep alive has passed.
func TestAnswersDoNotPileUp(t *testing.T) {
	const limit = 16 << 10
	inBubble(t, func(t *testing.T, b *Broker) {
		p := piped(t, b, mqtt.V311, "c", func(c *mqtt.Connect) { c.KeepAlive = 10 })
		pings := bytes.Repeat([]byte{0xC0, 0}, 1000)
		start := time.Now()
		n := 0
		for ; ; n++ {
			if _, err := p.conn.Write(pings); err != nil {
				break
			}
			if size := outSize(b, "c"); size > 3*limit {
				t.Fatalf("%d octets of answers wait", size)
			}
		}
		if took := time.Since(start); took < 15*time.Second || took > 17*time.Second || n < limit/len(pings) {
			t.Errorf("given up after %v and %d writes", took, n)
		}
	}, func(o *Options) { o.MaxQueuedBytes = limit })
}

// What a client says when it leaves is bounded like what it has said before.
func TestSessionExpiryAtLeaveIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		p := piped(t, b, mqtt.V5, "c", stay)
		p.send(&mqtt.Disconnect{Properties: mqtt.DisconnectProperties{SessionExpiry: mqtt.Some(uint32(0xFFFFFFFF))}})
		p.untilClosed()
		time.Sleep(2*time.Hour - time.Second)
		if n := b.Stats().Sessions; n != 1 {
			t.Errorf("%d sessions before the time is over", n)
		}
		time.Sleep(2 * time.Second)
		if n := b.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	}, func(o *Options) { o.SessionExpiryMax = 2 * time.Hour })
}

// A connection that is ended while its reader sets a deadline of its own does not outlive
// the one that it was given.
func TestDeadlineOfEndedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		c := &client{socket: far, conn: far}
		c.over.Store(true)
		c.expectBy(time.Now().Add(time.Hour))
		start := time.Now()
		if _, err := c.conn.Read(make([]byte, 1)); err == nil || time.Since(start) > lingerTime {
			t.Errorf("read for %v: %v", time.Since(start), err)
		}
	})
}
