package forward

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/transports"
)

const (
	ping     = "02 16"
	pingUp   = "04 FE 00 01 02 16"
	pong     = "02 17"
	pongDown = "04 FE 00 01 02 17"
)

// exchange lets the device ask and the gateway answer, and returns where the gateway saw
// the forwarder.
func (w *world) exchange(d *device) (from transports.Addr) {
	w.t.Helper()
	d.send(ping)
	from = w.expectAtGateway(pingUp)
	w.answer(pongDown)
	d.expect(pong)
	return from
}

// TestGatewayRestarts: what is sent meanwhile is lost, and nothing else; the gateway
// sees the devices where it knows them; the log says it once.
func TestGatewayRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		d := w.device(serialPeer)
		before := w.exchange(d)
		w.expectLogged(1, "level=INFO", `msg="the gateway answers"`)
		for outage := range 3 {
			began := time.Now()
			w.stopGateway("192.0.2.1:1883")
			for range 20 {
				d.send(ping)
				time.Sleep(time.Second)
			}
			if st := w.forwarder.Stats(); st.Up || !st.Since.Equal(began) || st.Unreachable != uint64(20*(outage+1)) {
				t.Errorf("%+v, and it went away at %v", st, began)
			}
			w.expectLogged(outage+1, "level=WARN", "the gateway cannot be reached", "connection refused", "gateway.example:1883")
			w.setRefusing(false)
			w.gateway("192.0.2.1:1883")
			if now := w.exchange(d); now != before {
				t.Errorf("the gateway saw the forwarder at %v, now at %v", before, now)
			}
			w.expectLogged(outage+1, "level=INFO", "the gateway answers again", "after=20s")
		}
		if st := w.forwarder.Stats(); !st.Up || st.ToGateway != 64 {
			t.Errorf("%+v", st)
		}
		w.expectDrops()
		w.expectLogged(8)
	})
}

// TestFreshSocketsInLongOutages: the host may have got another address meanwhile, which a
// socket does not notice.
func TestFreshSocketsInLongOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		d := w.device(serialPeer)
		before := w.exchange(d)
		w.stopGateway("192.0.2.1:1883")
		d.send(ping)
		time.Sleep(10 * time.Minute)
		if st := w.forwarder.Stats(); st.Sockets < 10 || st.Sockets > 21 {
			t.Errorf("%d sockets in 10 minutes", st.Sockets)
		}
		w.setRefusing(false)
		w.gateway("192.0.2.1:1883")
		if now := w.exchange(d); now != before {
			t.Errorf("the gateway saw the forwarder at %v, now at %v", before, now)
		}
		sockets := w.forwarder.Stats().Sockets
		time.Sleep(10 * time.Minute)
		if st := w.forwarder.Stats(); st.Sockets != sockets {
			t.Errorf("%d more sockets without need", st.Sockets-sockets)
		}
		w.expectLogged(4)
	})
}

// TestSocketFails: whatever the system says, the way opens again, from the same port.
func TestSocketFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		d := w.device(serialPeer)
		before := w.exchange(d)

		w.socket().fail(syscall.EINVAL) // it is read
		time.Sleep(firstWait + time.Millisecond)
		if now := w.exchange(d); now != before {
			t.Errorf("the gateway saw the forwarder at %v, now at %v", before, now)
		}
		w.expectLogged(1, "level=WARN", "no way to the gateway", "invalid argument")
		w.expectLogged(1, "level=INFO", "the way to the gateway is open again", "after=1s", "local=198.51.100.1:40001")

		s := w.socket() // it is written to
		s.mu.Lock()
		s.fails = syscall.EPERM
		s.mu.Unlock()
		for range 3 {
			d.send(ping)
		}
		w.expectDrops(gatewayAway, gatewayAway, gatewayAway)
		time.Sleep(2*firstWait + time.Millisecond)
		if now := w.exchange(d); now != before {
			t.Errorf("the gateway saw the forwarder at %v, now at %v", before, now)
		}

		// There is none to be had for some time.
		w.setOpenError(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)})
		w.socket().fail(syscall.EINVAL)
		time.Sleep(10 * time.Minute)
		if st := w.forwarder.Stats(); st.Up || time.Since(st.Since) != 10*time.Minute {
			t.Errorf("%+v", st)
		}
		w.expectLogged(3, "level=WARN", "no way to the gateway")
		w.setOpenError(nil)
		time.Sleep(longestWait)
		w.exchange(d)
		if st := w.forwarder.Stats(); st.Sockets != 4 {
			t.Errorf("%+v", st)
		}
	})
}

func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setName()
		w.start()
		d := w.device(serialPeer)
		time.Sleep(time.Hour - time.Millisecond)
		d.send(ping)
		w.expectDrops(gatewayAway)
		if n := w.lookedUp(); n < 3600/30 || n > 3600/30+6 {
			t.Errorf("%d lookups in an hour", n)
		}
		w.expectLogged(1, "level=WARN", "no way to the gateway", `the name \"gateway.example\" cannot be looked up: no such host`)
		w.setName("192.0.2.1")
		time.Sleep(longestWait)
		w.exchange(d)
		w.expectLogged(1, "level=INFO", "the way to the gateway is open again", "after=1h0m")
	})
}

// TestPortIsTaken: another program may take it while it is free for a moment.
func TestPortIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		d := w.device(serialPeer)
		w.exchange(d)
		s := w.socket()
		_ = s.MoveTo(ip("203.0.113.1:1", 0)) // the port is free now
		thief, err := w.network.DialFrom("elsewhere", s.at)
		if err != nil {
			t.Fatal(err)
		}
		s.fail(syscall.EINVAL)
		time.Sleep(2 * firstWait)
		if from := w.exchange(d); from.String() != "198.51.100.1:40002" {
			t.Errorf("the gateway sees the forwarder at %v", from)
		}
		w.expectLogged(1, "level=WARN", "devices may have to connect again", "port=40001")
		_ = thief.Close()
	})
}

func TestLocalCannotBeHad(t *testing.T) {
	for err, advice := range map[syscall.Errno]string{
		errInUse: "another program", errForbidden: "above 1023", errNotAvailable: "no interface", syscall.EIO: "check the address",
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.setOpenError(&net.OpError{Op: "dial", Err: os.NewSyscallError("bind", err)})
			got := w.forwarder.Run(t.Context())
			if got == nil || !strings.HasPrefix(got.Error(), `local: cannot send from UDP ":0": `+err.Error()) || !strings.Contains(got.Error(), advice) {
				t.Errorf("%v: got %v", err, got)
			}
			_ = w.network.Close()
		})
	}
}

// TestNameMoves: the gateway gets another address, and its name tells.
func TestNameMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		d := w.device(serialPeer)
		w.exchange(d)
		w.gateway("192.0.2.2:1883")
		w.setName("192.0.2.2")
		w.stopGateway("192.0.2.1:1883")
		d.send(ping) // refused: the name is looked up
		w.setRefusing(false)
		d.send(ping)
		if got := w.gotAt("192.0.2.2:1883"); len(got) != 1 || got[0].from.String() != "198.51.100.1:40001" {
			t.Fatalf("the new address got %v", got)
		}
		w.answerFrom("192.0.2.2:1883", pongDown)
		d.expect(pong)
		w.expectLogged(1, "level=INFO", "the gateway has another address", "was=192.0.2.1", "is=192.0.2.2")
		w.expectLogged(0, "no way")

		// Back, and nobody refuses anything: devices that ask in vain are enough.
		w.gateway("192.0.2.1:1883")
		w.setName("192.0.2.1")
		_ = w.network.Link("192.0.2.2:1883").Close()
		for range 7 {
			d.send(ping)
			time.Sleep(10 * time.Second)
		}
		w.gotAt("192.0.2.1:1883")
		w.exchange(d)
		w.expectDrops()
	})
}

// TestNameMovesUnnoticed: devices that send QoS -1 never hear whether it arrives.
func TestNameMovesUnnoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		d := w.device(serialPeer)
		const publish = "09 0C 62 61 62 00 00 68 69"
		d.send(publish)
		w.expectAtGateway("04 FE 00 01" + publish)
		_ = w.network.Link("192.0.2.1:1883").Close()
		w.setName("192.0.2.2", "192.0.2.3")
		w.gateway("192.0.2.2:1883")
		lookups := w.lookedUp()
		time.Sleep(idleLookup + checkEvery)
		d.send(publish)
		if got := w.gotAt("192.0.2.2:1883"); len(got) != 1 {
			t.Errorf("the new address got %v", got)
		}
		if n := w.lookedUp() - lookups; n != 1 {
			t.Errorf("%d lookups", n)
		}
		w.expectLogged(0, "level=WARN")

		// Nor does it matter that the name cannot be looked up any more.
		w.setName()
		time.Sleep(time.Hour)
		d.send(publish)
		if got := w.gotAt("192.0.2.2:1883"); len(got) != 1 {
			t.Errorf("the address got %v", got)
		}
		w.socket().fail(syscall.EINVAL)
		time.Sleep(time.Minute)
		d.send(publish)
		if got := w.gotAt("192.0.2.2:1883"); len(got) != 1 {
			t.Errorf("the address got %v", got)
		}
		w.expectDrops()
	})
}

// TestSeveralAddresses: the gateway listens at one of those that its name has.
func TestSeveralAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setName("192.0.2.3", "192.0.2.2", "192.0.2.1")
		w.start()
		w.network.Link("192.0.2.2:1883") // hears, and says nothing
		w.setRefusing(true)
		d := w.device(serialPeer)
		d.send(ping)
		time.Sleep(checkEvery + time.Second)
		w.setRefusing(false)
		for range 30 {
			d.send(ping)
			if len(w.gotAt("192.0.2.1:1883")) > 0 {
				break
			}
			time.Sleep(5 * time.Second)
		}
		if up := w.forwarder.Stats().Up; up {
			t.Error("it is up without an answer")
		}
		w.exchange(d)
		sockets := w.forwarder.Stats().Sockets
		for range 60 {
			time.Sleep(time.Minute)
			w.exchange(d) // it stays there
		}
		if st := w.forwarder.Stats(); st.Sockets != sockets || !st.Up {
			t.Errorf("%+v, want %d sockets", st, sockets)
		}
		w.expectLogged(1, "level=WARN")
	})
}

// TestSilence: devices ask and get no answer, as from a gateway that takes no forwarders.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		d := w.device(serialPeer)
		w.exchange(d)
		began := time.Now()
		// Two packets are lost easily, and these want no answer at all.
		d.send(ping)
		d.send(ping)
		for range 20 {
			d.send("09 0C 62 61 62 00 00 68 69") // PUBLISH, QoS -1
			d.send("09 0C 02 61 62 00 00 68 69") // PUBLISH, QoS 0
			d.send("07 0D 00 01 00 01 00")       // PUBACK
			d.send("03 01 01")                   // SEARCHGW
			time.Sleep(10 * time.Second)
		}
		w.answer("02 17") // not for a device
		w.expectLogged(0, "level=WARN", "the gateway")
		d.send(ping)
		time.Sleep(10 * time.Minute)
		w.expectLogged(1, "level=WARN", "the gateway does not answer", "gateway.forwarders", "gateway=gateway.example:1883", "unanswered=3")
		if st := w.forwarder.Stats(); st.Up || st.Since.Before(began.Add(200*time.Second)) {
			t.Errorf("%+v", st)
		}
		w.gotAt("192.0.2.1:1883")
		w.exchange(d)
		w.expectLogged(1, "level=INFO", "the gateway answers again")
		w.expectLogged(1, "level=WARN", "dropped packets", "packets.gateway_plain=1", "within=1m0s")
	})
}

// TestOutageWithoutAnswers: devices that send QoS -1 get none that would tell of its end.
func TestOutageWithoutAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		d := w.device(serialPeer)
		const publish = "09 0C 62 61 62 00 00 68 69"
		for range 3 {
			w.stopGateway("192.0.2.1:1883")
			for range 60 {
				d.send(publish)
				time.Sleep(time.Second)
			}
			w.setRefusing(false)
			w.gateway("192.0.2.1:1883")
			for range 60 {
				d.send(publish)
				time.Sleep(time.Second)
			}
			if got := w.gotAt("192.0.2.1:1883"); len(got) != 60 {
				t.Errorf("%d of 60 arrived", len(got))
			}
		}
		w.expectLogged(3, "level=WARN", "the gateway cannot be reached")
		w.expectLogged(3, "level=INFO", "the gateway is not out of reach any more")
		w.expectLogged(7)
		if st := w.forwarder.Stats(); st.Up || st.Sockets > 10 {
			t.Errorf("%+v", st)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(20)
		if why, ok := q.put([]byte{1}, octets(t, ping)); ok || why != gatewayAway {
			t.Errorf("%v %t", why, ok)
		}
		q.open()
		var b burst
		for range 3 {
			for range 3 {
				if why, ok := q.put([]byte{1}, octets(t, ping)); !ok {
					t.Fatal(why)
				}
			}
			if why, ok := q.put([]byte{1}, octets(t, ping)); ok || why != queueFull {
				t.Errorf("%v %t", why, ok)
			}
			<-q.wake
			b = q.take(b)
			for i := range b.ends {
				if got := fmt.Sprintf("% X", b.datagram(i)); got != pingUp {
					t.Errorf("got %s", got)
				}
			}
			if len(b.ends) != 3 {
				t.Errorf("%d datagrams", len(b.ends))
			}
		}
		_, _ = q.put([]byte{1}, octets(t, ping))
		if n := q.close(); n != 1 {
			t.Errorf("%d forgotten", n)
		}
		q.open()
		if b = q.take(b); len(b.ends) != 0 {
			t.Errorf("%d datagrams", len(b.ends))
		}
	})
}

// TestSystemRefuses: each error of a write has its place.
func TestSystemRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		u := w.forwarder.uplink
		for err, want := range map[error]reason{
			syscall.ENOBUFS: sendFailed, syscall.EMSGSIZE: deviceTooLarge, syscall.EHOSTUNREACH: sendFailed,
		} {
			before := w.forwarder.counts.dropped[want].Load()
			s := &socket{world: w, fails: &net.OpError{Op: "write", Err: err}}
			if got := u.send(s, octets(t, pingUp)); got != nil || w.forwarder.counts.dropped[want].Load() != before+1 {
				t.Errorf("%v: %v, %+v", err, got, w.forwarder.Stats())
			}
		}
		if got := u.send(&socket{world: w, fails: net.ErrClosed}, nil); !errors.Is(got, net.ErrClosed) {
			t.Errorf("got %v", got)
		}
		// A pending error comes in place of the first attempt.
		s := &onceRefused{socket: w.socket()}
		if got := u.send(s, octets(t, pingUp)); got != nil {
			t.Error(got)
		}
		w.expectAtGateway(pingUp)
	})
}

type onceRefused struct {
	*socket
	refused bool
}

func (s *onceRefused) Write(b []byte) (int, error) {
	if !s.refused {
		s.refused = true
		return 0, syscall.ECONNREFUSED
	}
	return s.socket.Write(b)
}

// TestMadSocket: one that always says that nobody is there does not keep a CPU busy.
func TestMadSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		if err := w.forwarder.uplink.read(alwaysRefused{}); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v", err)
		}
	})
}

type alwaysRefused struct{ net.Conn }

func (alwaysRefused) Read([]byte) (int, error) { return 0, syscall.ECONNREFUSED }
