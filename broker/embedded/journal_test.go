package embedded

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker/mqtt"
)

// logged makes a broker whose log is kept.
func logged(t *testing.T, level slog.Level, change ...func(*Options)) (*Broker, *lockedBuffer) {
	t.Helper()
	text := new(lockedBuffer)
	b := newBroker(t, change...)
	b.log = slog.New(slog.NewTextHandler(text, &slog.HandlerOptions{Level: level}))
	b.journal.log = b.log
	run(t, b)
	return b, text
}

// lines are the lines of the log without their time.
func (l *lockedBuffer) lines() (all []string) {
	for line := range strings.Lines(l.String()) {
		_, line, _ = strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		all = append(all, line)
	}
	return all
}

// A log of JSON has addresses as texts, too.
func TestLogInJSON(t *testing.T) {
	var text lockedBuffer
	b := newBroker(t, func(o *Options) { o.Listeners = listeners("127.0.0.1:0") })
	b.journal.log = slog.New(slog.NewJSONHandler(&text, nil))
	run(t, b)
	p := login(t, b, mqtt.V5, "c")
	want := `"remote":"` + p.conn.LocalAddr().String() + `"`
	until(t, "the log says "+want, func() bool { return strings.Contains(text.String(), want) })
}

// The log says who comes, who goes, and why.
func TestLogOfClients(t *testing.T) {
	b, text := logged(t, slog.LevelInfo, func(o *Options) {
		o.Listeners, o.MaxPacketSize, o.MaxSessions = listeners("127.0.0.1:0"), 8192, 2
	})
	seen := 0
	next := func(what, want string) {
		t.Helper()
		until(t, what, func() bool { return len(text.lines()) > seen })
		if line := text.lines()[seen]; !regexp.MustCompile("^" + want + "$").MatchString(line) {
			t.Errorf("%s: the log says\n%s\nwant\n%s", what, line, want)
		}
		seen++
	}
	const in, out, no = `level=INFO msg="MQTT client connected" client=`, `level=INFO msg="MQTT client disconnected" client=`, `level=INFO msg="MQTT client refused" client=`
	at := func(p *peer) string { return " remote=" + regexp.QuoteMeta(p.conn.LocalAddr().String()) }

	p := login(t, b, mqtt.V311, "left", func(c *mqtt.Connect) { c.KeepAlive = 60 })
	next("3.1.1", in+"left"+at(p)+" version=3.1.1 clean=true keep_alive=60")
	p.send(&mqtt.Disconnect{})
	next("DISCONNECT", out+"left"+at(p)+" reason=disconnect")

	p = login(t, b, mqtt.V5, "lost\x1b[2J", func(c *mqtt.Connect) { c.CleanStart = false })
	next("5", in+regexp.QuoteMeta(`lost\x1b[2J`)+at(p)+" version=5 clean=false keep_alive=0")
	p.conn.Close()
	next("close", out+`lost.*`+at(p)+" reason=connection_lost")

	for _, bad := range []struct{ what, octets, want string }{
		{"QoS 3", "\x36\x04\x00\x01ax", `malformed_packet why="PUBLISH QoS .*"`},
		{"second CONNECT", "\x10\x0D\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00", `protocol_error why="CONNECT is not expected"`},
		{"large packet", "\x30\xFF\x7F", `packet_too_large why=".*"`},
	} {
		p = login(t, b, mqtt.V5, "bad")
		next(bad.what, in+"bad.*")
		_, _ = io.WriteString(p.conn, bad.octets)
		next(bad.what, out+"bad"+at(p)+" reason="+bad.want)
	}

	p = login(t, b, mqtt.V311, "silent", func(c *mqtt.Connect) { c.KeepAlive = 1 })
	next("keep alive", in+"silent.*")
	next("keep alive", out+"silent"+at(p)+` reason=keep_alive_timeout why="keep alive exceeded"`)

	login(t, b, mqtt.V5, "twice")
	next("takeover", in+"twice.*")
	q := login(t, b, mqtt.V311, "twice")
	both := text.lines
	until(t, "takeover", func() bool { return len(both()) >= seen+2 })
	if got := strings.Join(both()[seen:], "\n"); !strings.Contains(got, "reason=session_taken_over") || !strings.Contains(got, "by="+q.conn.LocalAddr().String()) {
		t.Errorf("takeover: the log says\n%s", got)
	}
	seen += 2
	d := connected(t, b, "twice", true)
	next("takeover by a device", out+"twice"+at(q)+` reason=session_taken_over why=".*" by="an MQTT-SN device"`)

	connected(t, b, "another", true)
	p = dial(t, b, mqtt.V5)
	p.send(&mqtt.Connect{CleanStart: true, ClientID: []byte(strings.Repeat("x", 5000))})
	expect[*mqtt.Connack](p)
	next("no room", no+`"x{100}\.\.\. \(5000 octets\)"`+at(p)+` reason=quota_exceeded why="max_sessions or max_session_bytes_total is reached"`)
	p = dial(t, b, mqtt.V311)
	_, _ = io.WriteString(p.conn, "\x10\x00")
	next("not a CONNECT", no+`""`+at(p)+" reason=malformed_packet why=.*")

	// Who has nothing to say is not worth a line.
	p = dial(t, b, mqtt.V311)
	_, _ = io.WriteString(p.conn, "\xC0\x00")
	p.closed()
	dial(t, b, mqtt.V311).conn.Close()
	d.do(disconnect)
	until(t, "all are gone", func() bool { return b.Stats().Connections == 0 })
	if got := text.lines(); len(got) > seen {
		t.Errorf("the log says more:\n%s", strings.Join(got[seen:], "\n"))
	}
	st := b.Stats()
	want := map[string]uint64{
		"disconnect": 1, "connection_lost": 1, "malformed_packet": 1, "protocol_error": 1, "packet_too_large": 1,
		"keep_alive_timeout": 1, "session_taken_over": 2, "no_connect": 2,
	}
	ends := uint64(0)
	for name, n := range st.Disconnects {
		ends += n
		if n != want[name] {
			t.Errorf("%d connections ended by %s, want %d", n, name, want[name])
		}
	}
	for _, n := range st.RefusedConnects {
		ends += n
	}
	if ends != st.Accepted || st.RefusedConnects["quota_exceeded"] != 1 || st.RefusedConnects["malformed_packet"] != 1 {
		t.Errorf("%d connections, and these have ended: %v, %v", st.Accepted, st.Disconnects, st.RefusedConnects)
	}
}

// Whoever connects again and again does not flood the log; it is told what it missed.
func TestLogIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, text := logged(t, slog.LevelInfo)
		const n = 1000
		for range n {
			p := piped(t, b, mqtt.V5, "again")
			p.send(&mqtt.Disconnect{})
			p.conn.Close()
			synctest.Wait()
		}
		if got := len(text.lines()); got != journalBurst {
			t.Errorf("%d lines at once, want %d", got, journalBurst)
		}
		time.Sleep(journalPause)
		synctest.Wait()
		lines := text.lines()
		want := fmt.Sprintf(`level=WARN msg="there was too much to log about MQTT clients: lines were left out" lines=%d`, 2*n-journalBurst)
		if got := lines[len(lines)-1]; got != want {
			t.Errorf("the log says %s, want %s", got, want)
		}
		time.Sleep(time.Hour)
		piped(t, b, mqtt.V5, "later").conn.Close()
		synctest.Wait()
		if got := text.lines()[len(lines):]; len(got) != 2 {
			t.Errorf("after an hour the log says %q", got)
		}
	})
}

// At a higher level nothing is written, and nothing left out.
func TestLogLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, text := logged(t, slog.LevelWarn)
		for range 2 * journalBurst {
			p := piped(t, b, mqtt.V5, "again")
			p.conn.Close()
		}
		time.Sleep(time.Minute)
		if got := text.String(); got != "" {
			t.Errorf("the log says %s", got)
		}
	})
}

func TestShown(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "",
		"sensor-1":                         "sensor-1",
		"Küche 温度":                         "Küche 温度",
		"a\nb\x00\x1b[31m\u009b\u202e\xff": `a\nb\x00\x1b[31m\u009b\u202e\ufffd`,
		strings.Repeat("x", 100):           strings.Repeat("x", 100),
		strings.Repeat("x", 101):           strings.Repeat("x", 100) + "... (101 octets)",
		strings.Repeat("x", 99) + "ü":      strings.Repeat("x", 99) + "... (101 octets)",
		strings.Repeat("\x9b", 65535):      strings.Repeat(`\ufffd`, 96) + "... (65535 octets)",
	} {
		if got := shown(text); got != want {
			t.Errorf("%.200q is shown as %.200q, want %.200q", text, got, want)
		}
	}
}

// Versions before MQTT 5 have one return code for a client id and a keep alive that are
// not taken: the log tells them apart.
func TestLogOfRefusedKeepAlive(t *testing.T) {
	b, text := logged(t, slog.LevelInfo, func(o *Options) {
		o.Listeners, o.MaxKeepalive, o.AllowZeroLengthClientID = listeners("127.0.0.1:0"), time.Minute, false
	})
	for id, why := range map[string]string{"": "a client id is needed", "c": "the keep alive is above max_keepalive"} {
		p := dial(t, b, mqtt.V311)
		p.send(&mqtt.Connect{CleanStart: true, ClientID: []byte(id), KeepAlive: 61})
		if ack := expect[*mqtt.Connack](p); ack.Code != mqtt.CodeClientID {
			t.Errorf("client id %q: CONNACK %v", id, ack.Code)
		}
		want := fmt.Sprintf("reason=client_identifier_not_valid why=%q", why)
		until(t, want, func() bool { return strings.Contains(text.String(), want) })
	}
}
