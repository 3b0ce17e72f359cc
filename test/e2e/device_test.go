package e2e

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// device is an MQTT-SN client: a socket or a line, a client id, and a test that says which
// octets go out and which have to come in.
type device struct {
	t  *testing.T
	id string
	// conn moves one packet with each Read and Write; dial makes another one.
	conn net.Conn
	dial func() net.Conn
	vars vars
	// names are the topic names that the gateway has announced or confirmed, by topic id.
	names map[uint16]string
	// sent and got are the times of the latest datagram out and in.
	sent, got time.Time
	// story is what was said so far, for a failing test. Long ones keep the newest part.
	start time.Time
	story []string
	// received is the delivery that was acknowledged last.
	received delivery
	// unread was received by an expectation that left it to the next one.
	unread []byte
}

const storyLimit = 60

// newDevice is a device that speaks UDP to a gateway at an address.
func newDevice(t *testing.T, gateway, id string) *device {
	t.Helper()
	return newDeviceOn(t, func() net.Conn { return dialUDP(t, gateway) }, id)
}

func dialUDP(t testing.TB, gateway string) net.Conn {
	t.Helper()
	conn, err := net.Dial("udp", gateway)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.UDPConn).SetReadBuffer(4 << 20)
	return conn
}

func newDeviceOn(t *testing.T, dial func() net.Conn, id string) *device {
	t.Helper()
	conn := dial()
	d := &device{t: t, id: id, conn: conn, dial: dial, vars: vars{}, names: map[uint16]string{}, start: time.Now()}
	t.Cleanup(func() {
		_ = conn.Close()
		if t.Failed() {
			t.Logf("device %s at %v:\n%s", id, conn.LocalAddr(), strings.Join(d.story, "\n"))
		}
	})
	return d
}

func (d *device) note(format string, args ...any) {
	line := fmt.Sprintf("%7.3fs ", time.Since(d.start).Seconds()) + fmt.Sprintf(format, args...)
	if len(d.story) >= storyLimit {
		d.story = d.story[storyLimit/2:]
	}
	d.story = append(d.story, line)
}

// tell sends one datagram.
func (d *device) tell(notation string) {
	d.t.Helper()
	b, err := encode(notation, d.vars)
	if err != nil {
		d.t.Fatal(err)
	}
	d.write(b)
}

func (d *device) write(b []byte) {
	d.t.Helper()
	d.note("> %s", shown(b))
	d.sent = time.Now()
	// A refusal tells of an earlier datagram: the gateway was not there. Once more, then.
	_, err := d.conn.Write(b)
	if err != nil {
		_, err = d.conn.Write(b)
	}
	if err != nil {
		d.t.Fatalf("%s: %v", d.id, err)
	}
}

// read returns the next datagram, nil if none comes in time. Each is judged.
func (d *device) read(limit time.Duration) []byte {
	d.t.Helper()
	if b := d.unread; b != nil {
		d.unread = nil
		return b
	}
	buf := make([]byte, 65535)
	for deadline := time.Now().Add(limit); ; {
		_ = d.conn.SetReadDeadline(deadline)
		n, err := d.conn.Read(buf)
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			return nil
		case err != nil: // the gateway's port was closed for a while
			continue
		}
		b := buf[:n:n]
		d.got = time.Now()
		d.note("< %s", shown(b))
		recorded.add(b)
		if err := judge(b); err != nil {
			d.t.Fatalf("%s got %s: %v", d.id, shown(b), err)
		}
		return b
	}
}

// expect is the next datagram, which has to be as written.
func (d *device) expect(notation string) []byte {
	d.t.Helper()
	b := d.read(patience)
	if b == nil {
		d.t.Fatalf("%s: nothing came, want %s", d.id, notation)
	}
	if err := match(notation, d.vars, b); err != nil {
		d.t.Fatalf("%s got %s, want %s: %v", d.id, shown(b), notation, err)
	}
	return b
}

// ask sends one datagram and expects the answer.
func (d *device) ask(question, answer string) {
	d.t.Helper()
	d.tell(question)
	d.expect(answer)
}

// expectAll are the next datagrams, in any order.
func (d *device) expectAll(notations ...string) {
	d.t.Helper()
	for len(notations) > 0 {
		b := d.read(patience)
		if b == nil {
			d.t.Fatalf("%s: nothing came, want %q", d.id, notations)
		}
		found := false
		for i, notation := range notations {
			if found = match(notation, d.vars, b) == nil; found {
				notations = append(notations[:i:i], notations[i+1:]...)
				break
			}
		}
		if !found {
			d.t.Fatalf("%s got %s, want one of %q", d.id, shown(b), notations)
		}
	}
}

// next looks at the next datagram: whether it is as written. If not it stays the next.
func (d *device) next(notation string) bool {
	d.t.Helper()
	b := d.read(patience)
	if b == nil {
		d.t.Fatalf("%s: nothing came, want %s or another", d.id, notation)
	}
	if match(notation, d.vars, b) == nil {
		return true
	}
	d.unread = b
	return false
}

// moment is how long a device listens to find that nothing comes.
const moment = 200 * time.Millisecond

// silent lets the time pass, in which nothing may come.
func (d *device) silent(length time.Duration) {
	d.t.Helper()
	if b := d.read(length); b != nil {
		d.t.Fatalf("%s got %s, want nothing", d.id, shown(b))
	}
}

// pause lets the time pass until the device has to say something again, and reports
// whether it is in time for that, before the tolerance ends. Nothing may come meanwhile.
func (d *device) pause() bool {
	d.t.Helper()
	b := d.read(time.Until(d.sent.Add(beat)))
	if time.Since(d.sent) > brief*time.Second*4/3 {
		return false
	}
	if b != nil {
		d.t.Fatalf("%s got %s, want nothing", d.id, shown(b))
	}
	return true
}

// alive shows that the session goes on and that nothing else has come or comes.
func (d *device) alive() {
	d.t.Helper()
	d.ask("02 16", "02 17")
	d.silent(moment)
}

// discard reads off what matches until nothing has come for a moment.
func (d *device) discard(notation string) {
	d.t.Helper()
	for b := d.read(moment); b != nil; b = d.read(moment) {
		if err := match(notation, d.vars, b); err != nil {
			d.t.Fatalf("%s got %s, want nothing but %s: %v", d.id, shown(b), notation, err)
		}
	}
}

// settled shows that an exchange is over, but for copies of its last datagram that left
// before its acknowledgement arrived.
func (d *device) settled(last string) {
	d.t.Helper()
	d.discard(last)
	d.alive()
	d.silent(2 * fastRetry)
}

// shown is a datagram for messages: its octets, and its name if a gateway sends it.
func shown(b []byte) string {
	text := fmt.Sprintf("% X", b)
	if len(b) > 40 {
		text = fmt.Sprintf("% X … (%d octets)", b[:40], len(b))
	}
	if m, err := body(b); err == nil && sentByGateways[m[0]] != "" {
		text += " " + sentByGateways[m[0]]
	}
	return "[" + text + "]"
}
