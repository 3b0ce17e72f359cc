package embedded

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"mqttsn-gateway/broker/mqtt"
)

// These tests let paho.golang, an MQTT 5 client, judge the broker.

// pahoClient connects a client; messages go into the channel.
func pahoClient(t *testing.T, b *Broker, cp *paho.Connect) (*paho.Client, *paho.Connack, chan *paho.Publish) {
	t.Helper()
	conn, err := net.Dial("tcp", b.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	messages := make(chan *paho.Publish, 1000)
	c := paho.NewClient(paho.ClientConfig{
		Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			messages <- p.Packet
			return true, nil
		}},
	})
	if cp.Properties == nil {
		cp.Properties = &paho.ConnectProperties{}
	}
	most := uint16(20)
	cp.Properties.ReceiveMaximum = &most // without it the library allocates 65535 slots
	cp.KeepAlive = 30
	ack, err := c.Connect(withPatience(t), cp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		<-c.Done()
	})
	return c, ack, messages
}

func withPatience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func next(t *testing.T, messages chan *paho.Publish) *paho.Publish {
	t.Helper()
	select {
	case m := <-messages:
		return m
	case <-time.After(patience):
		t.Fatal("no message came")
		return nil
	}
}

func TestPahoClient(t *testing.T) {
	b := serve(t)
	ctx := withPatience(t)
	pub, ack, _ := pahoClient(t, b, &paho.Connect{CleanStart: true})
	if ack.Properties.AssignedClientID == "" || !ack.Properties.SharedSubAvailable {
		t.Errorf("CONNACK %+v", ack.Properties)
	}
	sub, _, messages := pahoClient(t, b, &paho.Connect{ClientID: "sub", CleanStart: true})
	d := connected(t, b, "device", true)
	d.subscribe("+/up", 2)
	id := 5
	suback, err := sub.Subscribe(ctx, &paho.Subscribe{
		Properties: &paho.SubscribeProperties{SubscriptionIdentifier: &id},
		Subscriptions: []paho.SubscribeOptions{
			{Topic: "a/#", QoS: 2, RetainAsPublished: true},
			{Topic: "b", QoS: 1, NoLocal: true},
		},
	})
	if err != nil || !bytes.Equal(suback.Reasons, []byte{2, 1}) {
		t.Fatalf("SUBACK %+v, %v", suback, err)
	}
	for qos := range byte(3) {
		expiry := uint32(100)
		res, err := pub.Publish(ctx, &paho.Publish{Topic: "a/up", QoS: qos, Retain: qos == 1, Payload: []byte("hello"),
			Properties: &paho.PublishProperties{
				User: paho.UserProperties{{Key: "k", Value: "v"}}, ContentType: "text", ResponseTopic: "re",
				CorrelationData: []byte("corr"), MessageExpiry: &expiry,
			}})
		if err != nil || res != nil && res.ReasonCode != 0 {
			t.Fatalf("publish with QoS %d: %+v, %v", qos, res, err)
		}
		m := next(t, messages)
		p := m.Properties
		if m.QoS != qos || m.Retain != (qos == 1) || string(m.Payload) != "hello" || p.User.Get("k") != "v" ||
			p.ContentType != "text" || p.ResponseTopic != "re" || string(p.CorrelationData) != "corr" ||
			*p.SubscriptionIdentifier != id || *p.MessageExpiry > 100 {
			t.Errorf("got %+v", m)
		}
		if token := d.delivered("hello", qos); qos > 0 {
			d.ack(token)
		}
		d.publish("a/down", "from device", qos, false)
		b.Flush()
		if m := next(t, messages); m.Topic != "a/down" || m.QoS != qos {
			t.Errorf("got %+v", m)
		}
	}
	if res, err := sub.Publish(ctx, &paho.Publish{Topic: "b", QoS: 1}); err != nil || res.ReasonCode != 0 {
		t.Errorf("own message: %+v, %v", res, err)
	}
	if res, err := pub.Publish(ctx, &paho.Publish{Topic: "$SYS/x", QoS: 1}); err == nil || res.ReasonCode != byte(mqtt.CodeNotAuthorized) {
		t.Errorf("publish below $SYS: %+v, %v", res, err)
	}
	un, err := sub.Unsubscribe(ctx, &paho.Unsubscribe{Topics: []string{"a/#", "none"}})
	if err != nil || !bytes.Equal(un.Reasons, []byte{0, 17}) {
		t.Errorf("UNSUBACK %+v, %v", un, err)
	}
	if len(messages) > 0 {
		t.Errorf("got %+v", <-messages)
	}
}

// A thousand QoS 1 and 2 messages through a session that is interrupted.
func TestPahoSession(t *testing.T) {
	b := serve(t)
	ctx := withPatience(t)
	forever := uint32(0xFFFFFFFF)
	keep := func() *paho.Connect {
		return &paho.Connect{ClientID: "keeper", Properties: &paho.ConnectProperties{SessionExpiryInterval: &forever}}
	}
	sub, _, _ := pahoClient(t, b, keep())
	if _, err := sub.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "t", QoS: 2}}}); err != nil {
		t.Fatal(err)
	}
	if err := sub.Disconnect(&paho.Disconnect{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the subscriber is gone", func() bool { return b.Stats().Connections == 0 })
	pub, _, _ := pahoClient(t, b, &paho.Connect{CleanStart: true})
	const n = 1000
	for i := range n {
		if _, err := pub.Publish(ctx, &paho.Publish{Topic: "t", QoS: byte(1 + i%2), Payload: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	_, ack, messages := pahoClient(t, b, keep())
	if !ack.SessionPresent {
		t.Fatal("no session present")
	}
	for i := range n {
		if m := next(t, messages); string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, m.Payload)
		}
	}
	until(t, "all are acknowledged", func() bool { return b.Stats().QueuedMessages == 0 })
}
