package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/eclipse/paho.golang/packets"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/mqttsn/client"
)

// The clients of TestReloadUnderLoad. What they do in goroutines ends with an error.

func (f *reloading) dialTCP() net.Conn {
	f.t.Helper()
	conn, err := net.DialTimeout("tcp", f.mqtt, patience)
	return f.dialled(conn, err)
}

func (f *reloading) dialTLS() net.Conn {
	f.t.Helper()
	conn, err := tls.Dial("tcp", f.tls, &tls.Config{RootCAs: f.ca.Pool()})
	return f.dialled(conn, err)
}

func (f *reloading) dialCertified() net.Conn {
	f.t.Helper()
	pump := f.ca.Issue("pump", nil)
	conn, err := tls.Dial("tcp", f.certified, &tls.Config{RootCAs: f.ca.Pool(), Certificates: []tls.Certificate{pump.TLS}})
	return f.dialled(conn, err)
}

func (f *reloading) dialWeb(url string) net.Conn {
	f.t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: f.ca.Pool()}}
	//nolint:bodyclose // the library has read and closed it
	conn, _, err := websocket.Dial(f.t.Context(), url, &websocket.DialOptions{
		Subprotocols: []string{"mqtt"}, HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return f.dialled(websocket.NetConn(context.Background(), conn, websocket.MessageBinary), nil)
}

func (f *reloading) dialled(conn net.Conn, err error) net.Conn {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// echoing is an MQTT 5 client with a user name.
type echoing struct {
	conn net.Conn
	last uint16 // packet identifier
}

// login connects; code is what the broker says to it.
func login(t *testing.T, conn net.Conn, id, user, password string) (c *echoing, code byte) {
	t.Helper()
	c = &echoing{conn: conn}
	p := packets.NewControlPacket(packets.CONNECT)
	content := p.Content.(*packets.Connect)
	content.ClientID, content.CleanStart, content.KeepAlive = id, true, 300
	content.UsernameFlag, content.Username, content.PasswordFlag, content.Password = true, user, true, []byte(password)
	answer, err := c.ask(p)
	connack, ok := answer.(*packets.Connack)
	if !ok {
		t.Fatalf("%s: the broker answers CONNECT with %v, %v", id, answer, err)
	}
	return c, connack.ReasonCode
}

// ask sends a packet and reads the next one.
func (c *echoing) ask(p *packets.ControlPacket) (packets.Packet, error) {
	if _, err := p.WriteTo(c.conn); err != nil {
		return nil, err
	}
	return c.next()
}

func (c *echoing) next() (packets.Packet, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	p, err := packets.ReadPacket(c.conn)
	if err != nil {
		return nil, err
	}
	return p.Content, nil
}

func (c *echoing) message(topic, payload string) *packets.ControlPacket {
	c.last = c.last%0xFFFF + 1
	p := packets.NewControlPacket(packets.PUBLISH)
	content := p.Content.(*packets.Publish)
	content.Topic, content.Payload, content.QoS, content.PacketID = topic, []byte(payload), 1, c.last
	return p
}

// publish publishes what the client does not get itself; code is the broker's.
func (c *echoing) publish(topic, payload string) (code byte, err error) {
	answer, err := c.ask(c.message(topic, payload))
	if puback, ok := answer.(*packets.Puback); ok {
		return puback.ReasonCode, nil
	}
	return 0, fmt.Errorf("the broker answers PUBLISH with %v, %w", answer, err)
}

// leave disconnects, and waits until the broker has closed the connection.
func (c *echoing) leave() {
	_, _ = c.ask(packets.NewControlPacket(packets.DISCONNECT))
}

// echoes subscribes to a topic. What is returned publishes to it and gets that back.
func (c *echoing) echoes(t *testing.T, topic string) func(payload string) error {
	t.Helper()
	p := packets.NewControlPacket(packets.SUBSCRIBE)
	content := p.Content.(*packets.Subscribe)
	content.PacketID, content.Subscriptions = 1, []packets.SubOptions{{Topic: topic, QoS: 1}}
	answer, err := c.ask(p)
	if suback, ok := answer.(*packets.Suback); !ok || suback.Reasons[0] != 1 {
		t.Fatalf("%s: the broker answers SUBSCRIBE with %v, %v", topic, answer, err)
	}
	return func(payload string) error {
		if _, err := c.message(topic, payload).WriteTo(c.conn); err != nil {
			return err
		}
		for range 2 {
			p, err := c.next()
			if err != nil {
				return err
			}
			switch p := p.(type) {
			case *packets.Puback:
				if p.PacketID != c.last || p.ReasonCode != 0 {
					return fmt.Errorf("PUBACK of %d with %02X", p.PacketID, p.ReasonCode)
				}
			case *packets.Publish:
				if string(p.Payload) != payload {
					return fmt.Errorf("got %q", p.Payload)
				}
				reply := packets.NewControlPacket(packets.PUBACK)
				setID(reply, p.PacketID)
				if _, err := reply.WriteTo(c.conn); err != nil {
					return err
				}
			default:
				return fmt.Errorf("the broker sent %v", p)
			}
		}
		return nil
	}
}

// deviceEchoes is the same for a device, which it connects.
func deviceEchoes(t *testing.T, conn net.Conn, id, topic string) func(payload string) error {
	t.Helper()
	d := client.New(conn, client.Options{ClientID: id, Tretry: calmRetry, NoPing: true})
	t.Cleanup(func() { _ = d.Close() })
	err := d.Connect(t.Context(), client.ConnectOptions{CleanSession: true, KeepAlive: time.Hour})
	if err == nil {
		_, err = d.Subscribe(t.Context(), client.Named(topic), mqttsn.QoS1)
	}
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return func(payload string) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := d.Publish(ctx, client.Named(topic), []byte(payload), mqttsn.QoS1, false); err != nil {
			return err
		}
		for {
			select {
			case m, open := <-d.Messages():
				switch {
				case !open:
					return errors.New("the connection has ended")
				case string(m.Payload) == payload:
					return nil
				case !m.DUP: // a late acknowledgement may have one sent again
					return fmt.Errorf("got %q", m.Payload)
				}
			case <-ctx.Done():
				return errors.New("the message does not come back")
			}
		}
	}
}
