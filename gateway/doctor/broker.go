package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/broker/remote"
	"mqttsn-gateway/gateway/secret"
)

// Upstream is an MQTT broker elsewhere, and how the gateway presents itself to it.
type Upstream struct {
	URL          string // as in broker.url, of one broker
	Username     string
	PasswordFile string
	CAFile       string // "" for the system's authorities
	Certificate  string // the file with the gateway's certificate; "" if it has none
	Key          string // and with its key
	ServerName   string
	ALPN         string
	// DevicesOnly: only devices have something to present to the broker, so there is no
	// CONNECT that the gateway could send for itself.
	DevicesOnly bool
	ClientID    string        // for the check; no client in use may have it
	Timeout     time.Duration // for all of it; 0 is 10 s
}

// Broker looks whether a broker can be reached and takes the gateway: its name resolves,
// it takes TCP connections, and it answers CONNECT. What it sends is an empty session,
// closed at once.
func Broker(ctx context.Context, u Upstream) Finding {
	if u.Timeout == 0 {
		u.Timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, u.Timeout)
	defer cancel()
	subject := "broker " + foreign(u.URL)
	t := u.trouble(ctx)
	if t != nil {
		return t.finding(Fail, subject)
	}
	if u.DevicesOnly {
		return Finding{Status: OK, Subject: subject, Text: "takes connections; whether it accepts a device is not known before one connects"}
	}
	return Finding{Status: OK, Subject: subject, Text: "accepts the gateway (MQTT 5)"}
}

// trouble is what is wrong with the broker; nil if nothing.
func (u Upstream) trouble(ctx context.Context) *trouble {
	e, err := remote.Parse(u.URL)
	if err != nil {
		return &trouble{cause: "is no address of a broker", fixes: []string{"write it as mqtt://HOST:PORT or mqtts://HOST:PORT: --broker URL"}}
	}
	way, t := u.way(e)
	if t != nil {
		return t
	}
	if u.DevicesOnly {
		return way.try(ctx)
	}
	code, err := u.ask(ctx, way, mqtt.V5)
	switch {
	case err == nil && !code.Failed():
		return nil
	case err == nil:
		return u.refused(code)
	case answered(err):
		// Not the answer to an MQTT 5 CONNECT: is it one of the version before?
		if _, old := u.ask(ctx, way, mqtt.V311); old == nil {
			return oldBroker()
		}
	}
	return unreachable(ctx, e, err)
}

// way is how to get to a broker, and what to show there.
type way struct {
	endpoint remote.Endpoint
	dialer   *remote.Dialer
	cert     *tls.Certificate
	password []byte
}

// way reads the files that are named.
func (u Upstream) way(e remote.Endpoint) (*way, *trouble) {
	w := &way{endpoint: e}
	var err error
	if u.PasswordFile != "" && !u.DevicesOnly {
		if w.password, err = secret.ReadPassword(u.PasswordFile); err != nil {
			return nil, &trouble{cause: "its password cannot be read: " + err.Error(), fixes: []string{"name a file that this user can read: --set broker.password_file=FILE"}}
		}
	}
	var roots *x509.CertPool
	if u.CAFile != "" {
		if roots, err = secret.Authorities(u.CAFile); err != nil {
			return nil, &trouble{cause: "its authority cannot be read: " + err.Error(), fixes: []string{"name a file that this user can read: --set broker.ca_file=FILE"}}
		}
	}
	if u.Certificate != "" && !u.DevicesOnly {
		if w.cert, err = secret.KeyPair(u.Certificate, u.Key); err != nil {
			return nil, &trouble{cause: "the certificate for it cannot be read: " + err.Error(), fixes: []string{"name files that this user can read: --set broker.certificate_file=FILE --set broker.key_file=FILE"}}
		}
	}
	w.dialer = remote.NewDialer(remote.Options{Roots: roots, ServerName: u.ServerName, ALPN: u.ALPN})
	return w, nil
}

// try makes a connection without CONNECT. That the broker wants to see a certificate then is
// as it should be.
func (w *way) try(ctx context.Context) *trouble {
	conn, err := w.dialer.Dial(ctx, w.endpoint, nil)
	var f *remote.Fault
	switch {
	case err == nil:
		_ = conn.Close()
	case !errors.As(err, &f) || f.Reason != remote.CertificateRefused:
		return unreachable(ctx, w.endpoint, err)
	}
	return nil
}

// answerError says that the broker was reached, and what it did instead of answering.
type answerError struct{ err error }

func (e *answerError) Error() string { return e.err.Error() }
func (e *answerError) Unwrap() error { return e.err }

func answered(err error) bool {
	var e *answerError
	return errors.As(err, &e)
}

// ask connects once and returns what the broker answers.
func (u Upstream) ask(ctx context.Context, w *way, version mqtt.Version) (mqtt.Code, error) {
	conn, err := w.dialer.Dial(ctx, w.endpoint, w.cert)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	hello := mqtt.Connect{CleanStart: true, KeepAlive: 30, ClientID: []byte(u.ClientID)}
	if u.Username != "" {
		hello.Username, hello.Password = []byte(u.Username), w.password
	}
	if _, err := conn.Write(hello.Append(nil, version)); err != nil {
		return 0, &answerError{err}
	}
	const longest = 64 << 10
	in := bufio.NewReader(conn)
	first, err := in.Peek(2)
	if err != nil {
		return 0, &answerError{remote.Explain(err)}
	}
	if err := remote.Foreign(first); err != nil {
		return 0, err
	}
	head, body, err := mqtt.NewReader(in, longest).Next()
	if err != nil {
		return 0, &answerError{err}
	}
	packet, err := mqtt.Decode(head, body, version)
	if err != nil {
		return 0, &answerError{err}
	}
	switch p := packet.(type) {
	case *mqtt.Connack:
		if !p.Code.Failed() {
			_, _ = conn.Write((&mqtt.Disconnect{}).Append(nil, version)) // as a courtesy
		}
		return p.Code, nil
	case *mqtt.Disconnect:
		return p.Code, nil
	}
	return 0, &answerError{fmt.Errorf("it sent %v", packet.Type())}
}

func oldBroker() *trouble {
	return &trouble{
		cause: "speaks MQTT 3.1.1 and not MQTT 5, which the gateway needs",
		fixes: []string{"take a newer broker: Mosquitto speaks MQTT 5 from version 1.6 on"},
	}
}

// refused is for a broker that does not take us.
func (u Upstream) refused(code mqtt.Code) *trouble {
	t := &trouble{cause: fmt.Sprintf("refuses the connection: %s (reason code 0x%02X)", code, byte(code))}
	switch code {
	case mqtt.CodeUnsupportedVersion:
		return oldBroker()
	case mqtt.CodeBadCredentials, mqtt.CodeNotAuthorized:
		t.cause += ": it does not take the user name and password"
		t.fixes = []string{
			"check them: --set broker.username=NAME --set broker.password_file=FILE",
			"on the broker, if it is Mosquitto: sudo mosquitto_passwd /etc/mosquitto/passwd " + quote(u.Username),
		}
		if u.Username == "" {
			t.cause = fmt.Sprintf("refuses the connection: it wants a user name and password, and none is configured (reason code 0x%02X)", byte(code))
			t.fixes = []string{
				"give them: --set broker.username=NAME --set broker.password_file=FILE",
				"or let clients in without, if the broker is Mosquitto and its network is trusted: allow_anonymous true in mosquitto.conf",
			}
		}
	case mqtt.CodeClientID:
		t.fixes = []string{"look at the client ids that the broker allows: --set broker.client_id_prefix=PREFIX"}
	case mqtt.CodeServerUnavailable, mqtt.CodeServerBusy, mqtt.CodeShuttingDown, mqtt.CodeQuota, mqtt.CodeConnectionRate:
		t.fixes = []string{"try again later, and look at the broker's own log and limits"}
	case mqtt.CodeUseAnotherServer, mqtt.CodeServerMoved:
		t.fixes = []string{"ask for its new address: --broker URL"}
	default:
		t.fixes = []string{"look at the broker's own log"}
	}
	return t
}

// unreachable is for a broker that has not said what is wrong.
func unreachable(ctx context.Context, e remote.Endpoint, err error) *trouble {
	address, host, port := e.Address(), e.Host, e.Port
	var fault *remote.Fault
	if errors.As(err, &fault) {
		return &trouble{cause: fault.What, fixes: []string{fault.Fix}}
	}
	checkPort := "check the port: MQTT without TLS is usually at 1883; with TLS, usually at 8883, write mqtts://HOST"
	if e.TLS() {
		checkPort = "check the port: MQTT over TLS is usually at 8883"
	}
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return &trouble{
			cause: "the name " + foreign(host) + " cannot be resolved: " + dns.Err,
			fixes: []string{"check its spelling and this machine's name server: getent hosts " + quote(host), "or write an address: --broker " + e.Scheme + "://ADDRESS:" + port},
		}
	case errors.Is(err, errRefused):
		return &trouble{
			cause: "the machine is there, but nothing listens on TCP port " + port,
			fixes: []string{
				"start the broker, if it is Mosquitto: sudo systemctl enable --now mosquitto",
				"Mosquitto 2 listens on its own machine alone until its mosquitto.conf has a line: listener " + port,
			},
		}
	case answered(err) && ctx.Err() == nil:
		cause := "takes the connection, but does not answer as an MQTT broker does: " + err.Error()
		if errors.Is(err, io.EOF) {
			cause = "takes the connection and closes it again: it wants TLS, has no more room, or is no MQTT broker"
		}
		return &trouble{cause: cause, fixes: []string{checkPort, "look at the broker's own log"}}
	case answered(err):
		return &trouble{
			cause: "takes the connection and says nothing: it wants TLS, or hangs",
			fixes: []string{checkPort, "look at the broker's own log"},
		}
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return &trouble{
			cause: "no answer from " + address + ": the machine is off, or a firewall drops what is sent there",
			fixes: []string{"see whether the machine is there: ping -c 3 " + quote(host)},
		}
	}
	return &trouble{cause: "cannot be reached: " + err.Error(), fixes: []string{"see whether there is a way: ip route get " + quote(host)}}
}
