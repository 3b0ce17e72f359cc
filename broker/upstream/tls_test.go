//go:build unix

package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/test/pki"
)

// secureMosquitto is a Mosquitto with TLS, and what is to be known to use it.
func secureMosquitto(t testing.TB, change func(*x509.Certificate), settings ...string) (*mosquitto, *pki.Authority) {
	t.Helper()
	ca := pki.New(t, "authority")
	pair := ca.Issue("broker", change)
	return startMosquitto(t, false, append([]string{
		"cafile " + ca.File, "certfile " + pair.CertificateFile, "keyfile " + pair.KeyFile,
	}, settings...)...), ca
}

// overTLS are quick options with another scheme.
func overTLSTo(m *mosquitto, scheme string, ca *pki.Authority) Options {
	o := quick(m.address)
	o.URL = scheme + "://" + m.address
	if ca != nil {
		o.CAFile = ca.File
	}
	return o
}

// through sends a message of each QoS from one client to another.
func through(t *testing.T, b *served) {
	t.Helper()
	from, to := b.open(t, "from"), b.open(t, "to")
	from.connect(true)
	to.connect(true)
	to.subscribe("a/#", 2)
	large := strings.Repeat("x", 20000)
	for qos := byte(0); qos <= 2; qos++ {
		for _, payload := range []string{"small", large} {
			from.publish(broker.Token(qos+1), "a/b", payload, qos)
			if qos > 0 {
				from.answer(broker.Token(qos+1), 0)
			}
			ev := to.message("a/b", payload)
			if qos > 0 {
				to.ack(ev)
			}
		}
	}
	await(t, "all acknowledged", func() bool { st := b.Stats(); return st.Unacked == 0 && st.Pending == 0 })
}

func TestWaysToMosquitto(t *testing.T) {
	for _, scheme := range []string{"mqtts", "ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			var m *mosquitto
			var ca *pki.Authority
			var settings []string
			if strings.HasPrefix(scheme, "ws") {
				// Mosquitto 2.0.11 does not start without a listener of another kind.
				_, port, _ := net.SplitHostPort(freeAddress(t))
				settings = append(settings, "protocol websockets", "listener "+port+" 127.0.0.1")
			}
			if scheme == "ws" {
				m = startMosquitto(t, false, settings...)
			} else {
				m, ca = secureMosquitto(t, nil, settings...)
			}
			b := serve(t, overTLSTo(m, scheme, ca))
			through(t, b)
			await(t, "the probe is there", func() bool { return b.Stats().Up })
		})
	}
}

// Brokers that stand in for each other may be reached in different ways.
func TestFailoverBetweenWays(t *testing.T) {
	first, ca := secureMosquitto(t, nil)
	_, port, _ := net.SplitHostPort(freeAddress(t))
	second := startMosquitto(t, false, "protocol websockets", "listener "+port+" 127.0.0.1")
	o := overTLSTo(first, "mqtts", ca)
	o.URL += ", ws://" + second.address
	b := serve(t, o)
	d := b.open(t, "c")
	d.connect(false)
	d.subscribe("t", 1)
	d.echo("t", "over TLS")
	first.kill()
	await(t, "it is with the other one", func() bool {
		st := b.Stats()
		return st.Connected == 1 && st.Reconnects > 0
	})
	d.echo("t", "over WebSocket")
}

// What is wrong is told in the log, once, and counted.
func TestTroubleWithTLS(t *testing.T) {
	good, ca := secureMosquitto(t, nil)
	plain := startMosquitto(t, false)
	expired, expiredCA := secureMosquitto(t, pki.Expired)
	wrong, wrongCA := secureMosquitto(t, pki.OtherName)
	mutual, mutualCA := secureMosquitto(t, nil, "require_certificate true")
	stranger := pki.New(t, "stranger").Issue("us", nil)
	for name, c := range map[string]struct {
		options Options
		reason  string
		says    string
	}{
		"unknown authority": {overTLSTo(good, "mqtts", wrongCA), "unknown_authority", "broker.ca_file"},
		"expired":           {overTLSTo(expired, "mqtts", expiredCA), "expired", "is valid from"},
		"wrong name":        {overTLSTo(wrong, "mqtts", wrongCA), "wrong_name", "broker.server_name"},
		"no TLS there":      {overTLSTo(plain, "mqtts", ca), "no_tls", "use mqtt://"},
		"no certificate":    {overTLSTo(mutual, "mqtts", mutualCA), "certificate_refused", "broker.certificate_file"},
		"a stranger's": {func() Options {
			o := overTLSTo(mutual, "mqtts", mutualCA)
			o.CertificateFile, o.KeyFile = stranger.CertificateFile, stranger.KeyFile
			return o
		}(), "certificate_refused", "does not take our certificate"},
		"no WebSocket": {overTLSTo(good, "wss", ca), "no_websocket", "no WebSocket connection"},
		"only TLS":     {overTLSTo(good, "mqtt", nil), "", "mqtts://"},
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, c.options)
			d := b.open(t, "c")
			d.do(broker.Request{Op: broker.Connect, Token: 1})
			await(t, c.says, func() bool { return b.logs.count(c.says) > 0 })
			if st := b.Stats(); c.reason != "" && st.Refused[c.reason] == 0 || st.Up {
				t.Errorf("%+v", st)
			}
			if n := b.logs.count("the broker is away"); n != 1 {
				t.Errorf("%d lines:\n%s", n, b.logs)
			}
		})
	}
}

func TestInsecureIsSaid(t *testing.T) {
	m, _ := secureMosquitto(t, pki.Expired)
	o := overTLSTo(m, "mqtts", nil)
	o.URL += "?insecure_skip_verify=true"
	b := serve(t, o)
	through(t, b)
	if b.logs.count("level=WARN") != 1 || b.logs.count("insecure_skip_verify") != 1 {
		t.Errorf("log:\n%s", b.logs)
	}
}

// As at AWS IoT: each device has a certificate, whose name is its user, and may use its own
// topics alone. The gateway itself has none.
func TestCertificateForEachDevice(t *testing.T) {
	acl := secretFile(t, "pattern readwrite devices/%u/#\n")
	for _, version := range []string{"tlsv1.2", "tlsv1.3"} {
		t.Run(version, func(t *testing.T) {
			m, ca := secureMosquitto(t, nil, "require_certificate true", "use_identity_as_username true", "acl_file "+acl, "tls_version "+version)
			o := overTLSTo(m, "mqtts", ca)
			dir := t.TempDir()
			own(dir)(&o)
			for _, id := range []string{"one", "two"} {
				ca.IssueAs(filepath.Join(dir, id), id, nil)
			}
			pki.New(t, "stranger").IssueAs(filepath.Join(dir, "strange"), "strange", nil)
			b := serve(t, o)
			await(t, "the broker is there", func() bool { return b.Stats().Up })
			one, two := b.open(t, "one"), b.open(t, "two")
			for _, d := range []*device{one, two} {
				d.connect(true)
				d.subscribe("devices/#", 1)
			}
			one.echo("devices/one/x", "mine")
			one.publish(2, "devices/two/x", "not mine", 1)
			one.answer(2, broker.CodeNotAuthorized)
			two.echo("devices/two/x", "mine")

			for id, reason := range map[string]string{"three": noCertificate, "../one": badClientID, "strange": "certificate_refused"} {
				d := b.open(t, id)
				d.do(broker.Request{Op: broker.Connect, Token: 9})
				d.answer(9, broker.CodeNotAuthorized)
				if n := b.Stats().Refused[reason]; n != 1 {
					t.Errorf("%s: counted %d times", reason, n)
				}
			}
			if n := b.logs.count(`the broker refuses a client`); n != 1 {
				t.Errorf("%d lines:\n%s", n, b.logs) // they are limited
			}
			// The others are not touched, and a connection that is made again is the same device's.
			two.echo("devices/two/x", "still")
			for range 2 {
				b.cutAll()
				await(t, "all are back", func() bool { st := b.Stats(); return st.Connected == 2 && st.Reconnecting == 0 })
				two.echo("devices/two/x", "again")
			}
		})
	}
}

// echo publishes a message that the device itself gets; the answer and the message come in
// any order.
func (d *device) echo(topic, payload string) {
	d.t.Helper()
	d.publish(50, topic, payload, 1)
	for answered, heard := false, false; !answered || !heard; {
		var ev broker.Event
		await(d.t, "an echo", func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			if len(d.events) == 0 {
				return false
			}
			ev, d.events = d.events[0], d.events[1:]
			return true
		})
		switch {
		case ev.Kind == broker.Answered && ev.Token == 50 && ev.Code == 0:
			answered = true
		case ev.Kind == broker.Delivered && ev.Message.Topic == topic: // an earlier one may come again
			heard = heard || string(ev.Message.Payload) == payload
			d.ack(ev)
		default:
			d.t.Fatalf("event %+v", ev)
		}
	}
}

// cutAll breaks all connections of clients.
func (b *served) cutAll() {
	for _, s := range b.all(nil) {
		s.mu.Lock()
		if s.line != nil {
			_ = s.line.conn.Close()
		}
		s.mu.Unlock()
	}
}

// Users of Mosquitto: a table, a template, and what a refusal costs.
func TestUserForEachDevice(t *testing.T) {
	passwords := filepath.Join(t.TempDir(), "passwords")
	if err := os.WriteFile(passwords, []byte("one:first\ntwo:second\nus:ours\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hashPasswords(t, passwords)
	m := startMosquitto(t, false, "password_file "+passwords, "allow_anonymous false")
	o := quick(m.address)
	o.CredentialsFile = secretFile(t, "1:one:first\n2:two:second\n3:two:wrong\n")
	b := serve(t, o)
	await(t, "the broker is there", func() bool { return b.Stats().Up })
	for _, id := range []string{"1", "2"} {
		b.open(t, id).connect(true)
	}
	for i, id := range []string{"3", "4"} {
		d := b.open(t, id)
		d.do(broker.Request{Op: broker.Connect, Token: 1})
		d.answer(1, broker.CodeNotAuthorized)
		if n := b.Stats().Refused[[]string{brokerRefusal, noCredentials}[i]]; n != 1 {
			t.Errorf("%s: counted %d times", id, n)
		}
		if n := b.logs.count("client=" + id); n != 1-i {
			t.Errorf("%d lines about %s:\n%s", n, id, b.logs)
		}
	}
	// A device that comes again and again is answered, and the broker is left alone.
	before := b.Stats().Refused[brokerRefusal]
	for range 1000 {
		d := b.open(t, "3")
		d.do(broker.Request{Op: broker.Connect, Token: 1})
		d.answer(1, broker.CodeNotAuthorized)
	}
	if n := b.Stats().Refused[brokerRefusal] - before; n > 20 {
		t.Errorf("the broker was asked %d times", n)
	}
	// Once there is a good line for it, it gets in.
	if err := os.WriteFile(o.CredentialsFile, []byte("3:two:second\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Reload(); err != nil {
		t.Fatal(err)
	}
	b.open(t, "3").connect(true)
	if st := b.Stats(); st.Connected != 3 || st.ConnectionsLost != 0 {
		t.Errorf("%+v", st)
	}
}

// Files are read anew a thousand times while devices publish, connect and leave: nobody who
// is there notices.
func TestReloadUnderLoad(t *testing.T) {
	m, ca := secureMosquitto(t, nil, "require_certificate true")
	us := ca.Issue("us", nil)
	o := overTLSTo(m, "mqtts", ca)
	o.CertificateFile, o.KeyFile = us.CertificateFile, us.KeyFile
	o.Username, o.PasswordFile, o.CredentialsFile = "us", secretFile(t, "ours"), secretFile(t, "talker:me:mine\n")
	b := serve(t, o)
	ledger := b.listen(t, "listener", "t", 2)
	d := b.open(t, "talker")
	d.connect(true)
	reloaded := make(chan struct{})
	go func() {
		defer close(reloaded)
		for range 1000 {
			if err := b.Reload(); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	messages := 0
	for done := false; !done; {
		select {
		case <-reloaded:
			done = true
		default:
		}
		d.publishAll("t", 2, messages, messages+50)
		messages += 50
		passing := b.open(t, fmt.Sprintf("passing-%d", messages))
		passing.connect(true)
		passing.do(broker.Request{Op: broker.Disconnect})
	}
	await(t, "all messages", func() bool { return ledger.seen() == messages })
	st := b.Stats()
	t.Logf("%d messages, %d connects", messages, st.Connects)
	if st.ConnectionsLost > 0 || st.Reconnects > 0 || ledger.duplicates() > 0 || len(st.Refused) > 0 {
		t.Errorf("%+v", st)
	}
}

// Reconnecting resumes the TLS session, if the broker lets us.
func TestMosquittoResumes(t *testing.T) {
	m, ca := secureMosquitto(t, nil, "require_certificate true")
	us := ca.Issue("us", nil)
	o := overTLSTo(m, "mqtts", ca)
	o.CertificateFile, o.KeyFile = us.CertificateFile, us.KeyFile
	b := serve(t, o)
	d := b.open(t, "c")
	d.connect(true)
	for i := range 3 {
		b.cutAll()
		await(t, "it is back", func() bool { st := b.Stats(); return st.Connected == 1 && int(st.Reconnects) == i+1 })
	}
	for _, s := range b.all(nil) {
		s.mu.Lock()
		state := s.line.conn.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState()
		s.mu.Unlock()
		t.Logf("TLS %s, resumed: %v", tls.VersionName(state.Version), state.DidResume)
	}
}
