package doctor

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"mqttsn-gateway/broker/mqtt"
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
		{"HTTP", func(c net.Conn) { connect(t, c); c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, []string{"does not answer as an MQTT broker does", "usually at 1883"}},
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
	want(t, unreachable(t.Context(), "brokr:1883", dns).finding(Fail, "x"), Fail, "the name brokr cannot be resolved: no such host", "getent hosts brokr")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, unreachable(gone, "10.0.0.1:1883", gone.Err()).finding(Fail, "x"), Fail, "no answer from 10.0.0.1:1883", "ping -c 3 10.0.0.1")
	want(t, unreachable(t.Context(), "10.0.0.1:1883", &net.OpError{Op: "dial", Err: os.ErrInvalid}).finding(Fail, "x"), Fail, "cannot be reached", "ip route get 10.0.0.1")
	// An address without a port means 1883.
	if got, err := (Upstream{URL: "mqtt://[::1]"}).resolve(); err != nil || got != "[::1]:1883" {
		t.Errorf("got %q, %v", got, err)
	}
}
