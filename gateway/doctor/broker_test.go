package doctor

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/broker/remote"
	"mqttsn-gateway/test/pki"
)

// serve accepts connections and has answer deal with each, until the test ends.
func serve(t *testing.T, answer func(c net.Conn)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			answer(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return "mqtt://" + l.Addr().String()
}

// connect reads the CONNECT.
func connect(t *testing.T, c net.Conn) *mqtt.Connect {
	head, body, err := mqtt.NewReader(c, 0).Next()
	if err != nil {
		t.Error(err)
		return &mqtt.Connect{}
	}
	p, err := mqtt.Decode(head, body, mqtt.V5)
	if err != nil {
		t.Error(err)
		return &mqtt.Connect{}
	}
	return p.(*mqtt.Connect)
}

func connack(t *testing.T, code mqtt.Code) func(net.Conn) {
	return func(c net.Conn) {
		v := connect(t, c).Version
		c.Write((&mqtt.Connack{Code: code}).Append(nil, v))
	}
}

func TestBrokerAccepts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := make(chan mqtt.Connect, 1)
	u := Upstream{Username: "gw", PasswordFile: file, ClientID: "doctor-1"}
	u.URL = serve(t, func(c net.Conn) {
		p := *connect(t, c)
		p.Username, p.Password, p.ClientID = []byte(string(p.Username)), []byte(string(p.Password)), []byte(string(p.ClientID))
		seen <- p
		c.Write((&mqtt.Connack{}).Append(nil, p.Version))
	})
	want(t, Broker(t.Context(), u), OK, "broker "+u.URL+": accepts the gateway")
	if p := <-seen; string(p.Username) != "gw" || string(p.Password) != "secret" || string(p.ClientID) != "doctor-1" || !p.CleanStart || p.Version != mqtt.V5 {
		t.Errorf("got %+v", p)
	}
	u.PasswordFile += "x"
	want(t, Broker(t.Context(), u), Fail, "its password cannot be read", "broker.password_file")
}

func TestBrokerRefuses(t *testing.T) {
	for _, c := range []struct {
		code mqtt.Code
		user string
		want []string
	}{
		{mqtt.CodeNotAuthorized, "", []string{"wants a user name and password, and none is configured (reason code 0x87)", "broker.username", "allow_anonymous true"}},
		{mqtt.CodeNotAuthorized, "gw", []string{"Not authorized (reason code 0x87): it does not take", "mosquitto_passwd"}},
		{mqtt.CodeBadCredentials, "gw", []string{"Bad User Name or Password", "broker.password_file"}},
		{mqtt.CodeClientID, "", []string{"client_id_prefix"}},
		{mqtt.CodeServerBusy, "", []string{"try again later"}},
		{mqtt.CodeQuota, "", []string{"try again later"}},
		{mqtt.CodeServerMoved, "", []string{"new address"}},
		{mqtt.CodeBanned, "", []string{"Banned", "the broker's own log"}},
		{mqtt.CodeUnsupportedVersion, "", []string{"not MQTT 5"}},
	} {
		u := Upstream{URL: serve(t, connack(t, c.code)), Username: c.user}
		want(t, Broker(t.Context(), u), Fail, c.want...)
	}
	goodbye := Upstream{URL: serve(t, func(c net.Conn) {
		connect(t, c)
		c.Write((&mqtt.Disconnect{Code: mqtt.CodeShuttingDown}).Append(nil, mqtt.V5))
	})}
	want(t, Broker(t.Context(), goodbye), Fail, "Server shutting down", "try again later")
}

func TestBrokerIsNone(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(net.Conn)
		want   []string
	}{
		{"MQTT 3.1.1", func(c net.Conn) {
			if connect(t, c).Version == mqtt.V5 {
				c.Write([]byte{0x20, 2, 0, 1})
			} else {
				c.Write([]byte{0x20, 2, 0, 0})
			}
		}, []string{"speaks MQTT 3.1.1 and not MQTT 5", "Mosquitto"}},
		{"closes on version 5", func(c net.Conn) {
			if connect(t, c).Version != mqtt.V5 {
				c.Write([]byte{0x20, 2, 0, 5})
			}
		}, []string{"speaks MQTT 3.1.1 and not MQTT 5"}},
		{"closes", func(c net.Conn) { connect(t, c) }, []string{"closes it again", "usually at 1883"}},
		{"HTTP", func(c net.Conn) { connect(t, c); c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, []string{"this port speaks HTTP", "use ws://"}},
		{"TLS", func(c net.Conn) { connect(t, c); c.Write([]byte{0x15, 3, 3, 0, 2, 2, 70}) }, []string{"this port speaks TLS", "use mqtts://"}},
		{"another packet", func(c net.Conn) { connect(t, c); c.Write((&mqtt.Pingresp{}).Append(nil, mqtt.V5)) }, []string{"does not answer as an MQTT broker does", "PINGRESP"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want(t, Broker(t.Context(), Upstream{URL: serve(t, c.answer)}), Fail, c.want...)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var u Upstream
	u.URL = serve(t, func(c net.Conn) {
		connect(t, c)
		cancel() // as the timeout does
		io.Copy(io.Discard, c)
	})
	want(t, Broker(ctx, u), Fail, "takes the connection and says nothing", "TLS")
}

func TestBrokerUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	want(t, Broker(t.Context(), Upstream{URL: "mqtt://" + addr}), Fail, "nothing listens on TCP port", "systemctl enable --now mosquitto", "listener ")
	for _, url := range []string{"", "mqtt://", "http://x", "mqtt://a b", "\x00"} {
		want(t, Broker(t.Context(), Upstream{URL: url}), Fail, "is no address of a broker", "--broker URL")
	}
	dns := &net.DNSError{Err: "no such host", Name: "brokr"}
	want(t, unreachable(t.Context(), remote.Endpoint{Scheme: "mqtts", Host: "brokr", Port: "7"}, dns).finding(Fail, "x"), Fail, "the name brokr cannot be resolved: no such host", "getent hosts brokr", "--broker mqtts://ADDRESS:7")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	at := remote.Endpoint{Scheme: "mqtt", Host: "10.0.0.1", Port: "1883"}
	want(t, unreachable(gone, at, gone.Err()).finding(Fail, "x"), Fail, "no answer from 10.0.0.1:1883", "ping -c 3 10.0.0.1")
	want(t, unreachable(t.Context(), at, &net.OpError{Op: "dial", Err: os.ErrInvalid}).finding(Fail, "x"), Fail, "cannot be reached", "ip route get 10.0.0.1")
}

// overTLS is serve over TLS.
func overTLS(t *testing.T, c *tls.Config, answer func(net.Conn)) (url string) {
	t.Helper()
	return strings.Replace(serve(t, func(conn net.Conn) {
		over := tls.Server(conn, c)
		if over.Handshake() == nil {
			answer(over)
			_ = over.CloseWrite()
		}
	}), "mqtt:", "mqtts:", 1)
}

func TestBrokerOverTLS(t *testing.T) {
	ca, other := pki.New(t, "authority"), pki.New(t, "another")
	pair, old, us := ca.Issue("broker", nil), ca.Issue("broker", pki.Expired), ca.Issue("us", nil)
	plain := &tls.Config{Certificates: []tls.Certificate{pair.TLS}, MinVersion: tls.VersionTLS12}
	expired := &tls.Config{Certificates: []tls.Certificate{old.TLS}, MinVersion: tls.VersionTLS12}
	mutual := plain.Clone()
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	accept := connack(t, 0)
	for name, c := range map[string]struct {
		config *tls.Config
		u      Upstream
		status Status
		want   []string
	}{
		"well":             {plain, Upstream{CAFile: ca.File}, OK, []string{"accepts the gateway"}},
		"with certificate": {mutual, Upstream{CAFile: ca.File, Certificate: us.CertificateFile, Key: us.KeyFile}, OK, []string{"accepts the gateway"}},
		"without it":       {mutual, Upstream{CAFile: ca.File}, Fail, []string{"wants a certificate", "broker.certificate_file"}},
		"unknown":          {plain, Upstream{CAFile: other.File}, Fail, []string{"authority", "broker.ca_file"}},
		"wrong name":       {plain, Upstream{CAFile: ca.File, ServerName: "x.example"}, Fail, []string{"another name", "broker.server_name"}},
		"expired":          {expired, Upstream{CAFile: ca.File}, Fail, []string{"is valid from", "renew it"}},
		"no such file":     {plain, Upstream{CAFile: ca.File + "x"}, Fail, []string{"authority cannot be read", "broker.ca_file"}},
		"no such pair":     {plain, Upstream{CAFile: ca.File, Certificate: "x", Key: "y"}, Fail, []string{"cannot be read", "broker.key_file"}},
		"devices only":     {mutual, Upstream{CAFile: ca.File, DevicesOnly: true}, OK, []string{"takes connections"}},
	} {
		t.Run(name, func(t *testing.T) {
			answer := accept
			if c.u.DevicesOnly {
				answer = func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) }
			}
			c.u.URL = overTLS(t, c.config, answer)
			want(t, Broker(t.Context(), c.u), c.status, c.want...)
		})
	}
	none := strings.Replace(serve(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }), "mqtt:", "mqtts:", 1)
	want(t, Broker(t.Context(), Upstream{URL: none, CAFile: ca.File}), Fail, "use mqtt://")
	want(t, Broker(t.Context(), Upstream{URL: none, CAFile: ca.File, DevicesOnly: true}), Fail, "use mqtt://")
}
