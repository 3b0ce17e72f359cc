package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/mqttsn/client"
)

// snDevice is an MQTT-SN device among the clients of other kinds.
type snDevice struct {
	t        testing.TB
	client   *client.Client
	greeting greeting
	in       *inbox
	sent     chan error
}

func dialDevice(f *fair, _ kind, id string, h greeting) peer {
	f.Helper()
	conn, err := net.Dial("udp", f.gateway.udp)
	if err != nil {
		f.Fatal(err)
	}
	_ = conn.(*net.UDPConn).SetReadBuffer(4 << 20)
	d := &snDevice{t: f, greeting: h, in: newInbox(id), sent: make(chan error, 1)}
	d.client = client.New(conn, client.Options{
		ClientID: id, Tretry: 3 * time.Second, Inflight: 4, NoPing: true,
		OnMessage: func(m client.Message) {
			d.in.put(arrival{message: message{m.Topic, string(m.Payload), byte(m.QoS), m.Retain, time.Now()}})
		},
	})
	f.Cleanup(func() { _ = d.client.Close() })
	d.connect()
	return d
}

// lifetime is the keep alive of a device that is going to die: the gateway finds out by it.
const lifetime = time.Second

func (d *snDevice) connect() {
	d.t.Helper()
	o := client.ConnectOptions{CleanSession: !d.greeting.keep, KeepAlive: time.Hour}
	if w := d.greeting.will; w != nil {
		o.Will = &client.Will{Topic: w.Topic, Payload: []byte(w.Payload), QoS: mqttsn.QoS(w.QoS), Retain: w.Retain}
	}
	d.must("connect", func(ctx context.Context) error { return d.client.Connect(ctx, o) })
}

func (d *snDevice) must(what string, do func(context.Context) error) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := do(ctx); err != nil {
		d.t.Fatalf("%s: %s: %v", d.in.owner, what, err)
	}
}

func (d *snDevice) subscribe(filter string, qos byte) {
	d.t.Helper()
	d.must("subscribe", func(ctx context.Context) error {
		granted, err := d.client.Subscribe(ctx, client.Named(filter), mqttsn.QoS(qos))
		if err == nil && granted != mqttsn.QoS(qos) {
			err = fmt.Errorf("QoS %d granted, want %d", granted, qos)
		}
		return err
	})
}

func (d *snDevice) publish(o outgoing) {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var all error
		for _, payload := range o.payloads {
			err := d.client.Publish(ctx, client.Named(o.topic), []byte(payload), mqttsn.QoS(o.qos), o.retain)
			all = errors.Join(all, err)
		}
		d.sent <- all
	}()
}

func (d *snDevice) settle() {
	d.t.Helper()
	if err := <-d.sent; err != nil {
		d.t.Fatalf("%s: publish: %v", d.in.owner, err)
	}
}

func (d *snDevice) leave() {
	d.t.Helper()
	d.must("disconnect", d.client.Disconnect)
}

// die falls silent. The gateway learns of it when the keep alive is over, which
// connecting again makes a short one.
func (d *snDevice) die() {
	d.t.Helper()
	d.must("connect", func(ctx context.Context) error {
		return d.client.Connect(ctx, client.ConnectOptions{KeepAlive: lifetime})
	})
	_ = d.client.Close()
}

func (d *snDevice) rejoin() { d.connect() }

func (d *snDevice) inbox() *inbox { return d.in }
