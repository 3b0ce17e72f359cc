package embedded

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// sink is a device that takes what it is told and forgets it.
type sink struct{ n int }

func (s *sink) Receive(broker.Event) { s.n++ }

func benchDevice(b *testing.B, br *Broker, id string) broker.Conn {
	c := br.Open(id, new(sink))
	if err := c.Do(&broker.Request{Op: broker.Connect, CleanSession: true}); err != nil {
		b.Fatal(err)
	}
	return c
}

// swallow is an MQTT client that subscribes and acknowledges nothing: it just reads.
func swallow(b testing.TB, br *Broker, v mqtt.Version, id, filter string) {
	p := login(b, br, v, id)
	p.subscribe(0, filter)
	go func() { _, _ = io.Copy(io.Discard, p.conn) }()
}

// BenchmarkDevicePublish is Do with a Publish, flushed every 64 as by a batch of datagrams.
func BenchmarkDevicePublish(b *testing.B) {
	for _, qos := range []byte{0, 1} {
		for _, subs := range []int{0, 1, 100} {
			for _, kind := range []string{"mqtt", "device"} {
				if subs == 0 && kind == "device" {
					continue
				}
				b.Run(fmt.Sprintf("qos=%d/subs=%d/%s", qos, subs, kind), func(b *testing.B) {
					br := serve(b)
					for i := range subs {
						id := fmt.Sprint("sub", i)
						if kind == "mqtt" {
							swallow(b, br, mqtt.V311, id, "sensors/+/temperature")
						} else {
							c := benchDevice(b, br, id)
							_ = c.Do(&broker.Request{Op: broker.Subscribe, Topic: "sensors/+/temperature"})
						}
					}
					c := benchDevice(b, br, "pub")
					r := broker.Request{Op: broker.Publish, Topic: "sensors/17/temperature", Payload: make([]byte, 64), QoS: qos}
					b.ReportAllocs()
					b.ResetTimer()
					for i := range b.N {
						if err := c.Do(&r); err != nil {
							b.Fatal(err)
						}
						if i%64 == 63 {
							br.Flush()
						}
					}
					br.Flush()
				})
			}
		}
	}
}

// BenchmarkRights is a device's QoS 0 message to so many MQTT clients, each of another user
// with rights of its own, and without an acl_file.
func BenchmarkRights(b *testing.B) {
	for _, subs := range []int{100, 1000} {
		for _, with := range []bool{false, true} {
			b.Run(fmt.Sprintf("subs=%d/acl=%v", subs, with), func(b *testing.B) {
				var acl strings.Builder
				for i := range subs {
					fmt.Fprintf(&acl, "user u%d\ntopic read sensors/%d/#\ntopic read sensors/+/temperature\n", i, i)
				}
				option := func(*Options) {}
				if with {
					option = guarded(b, "", acl.String()).option
				}
				br := serve(b, option)
				for i := range subs {
					p := login(b, br, mqtt.V311, fmt.Sprint("sub", i), as(fmt.Sprint("u", i)))
					p.subscribe(0, "sensors/+/temperature")
					go func() { _, _ = io.Copy(io.Discard, p.conn) }()
				}
				c := benchDevice(b, br, "pub")
				r := broker.Request{Op: broker.Publish, Topic: "sensors/17/temperature", Payload: make([]byte, 64)}
				b.ReportAllocs()
				for b.Loop() {
					if err := c.Do(&r); err != nil {
						b.Fatal(err)
					}
					br.Flush()
				}
			})
		}
	}
}

// BenchmarkDeviceDelivery is a QoS 1 message from device to device, with its Ack.
func BenchmarkDeviceDelivery(b *testing.B) {
	br := newBroker(b)
	to := benchDevice(b, br, "to")
	_ = to.Do(&broker.Request{Op: broker.Subscribe, Topic: "t", QoS: 1})
	from := benchDevice(b, br, "from")
	r := broker.Request{Op: broker.Publish, Topic: "t", Payload: make([]byte, 64), QoS: 1}
	b.ReportAllocs()
	for i := range b.N {
		_ = from.Do(&r)
		_ = to.Do(&broker.Request{Op: broker.Ack, Token: broker.Token(i%0xFFFF + 1)})
	}
}

// BenchmarkClientPublish is an MQTT client's QoS 0 messages to one device, over TCP.
func BenchmarkClientPublish(b *testing.B) {
	br := serve(b)
	to := benchDevice(b, br, "to")
	_ = to.Do(&broker.Request{Op: broker.Subscribe, Topic: "t"})
	p := login(b, br, mqtt.V311, "pub")
	one := (&mqtt.Publish{Topic: []byte("t"), Payload: make([]byte, 64)}).Append(nil, mqtt.V311)
	var batch []byte
	for range 100 {
		batch = append(batch, one...)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += 100 {
		if _, err := p.conn.Write(batch); err != nil {
			b.Fatal(err)
		}
	}
	p.quiet()
}

// BenchmarkRoute is the look-up of a topic, with and without the cache.
func BenchmarkRoute(b *testing.B) {
	br := newBroker(b)
	for i := range 1000 {
		c := benchDevice(b, br, fmt.Sprint(i))
		_ = c.Do(&broker.Request{Op: broker.Subscribe, Topic: fmt.Sprintf("devices/%d/#", i)})
	}
	const topic = "devices/17/temperature"
	b.Run("cached", func(b *testing.B) {
		for b.Loop() {
			br.topics.route(topic)
		}
	})
	b.Run("not cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			br.topics.routeOwn(topic)
		}
	})
}

// BenchmarkRouteWhileSubscribing is the look-up of a topic, after each of which another
// client ends a wildcard subscription and makes it again.
func BenchmarkRouteWhileSubscribing(b *testing.B) {
	br := newBroker(b)
	for i := range 1000 {
		c := benchDevice(b, br, fmt.Sprint(i))
		_ = c.Do(&broker.Request{Op: broker.Subscribe, Topic: fmt.Sprintf("cmd/%d/#", i)})
		_ = c.Do(&broker.Request{Op: broker.Subscribe, Topic: "state/+/all"})
	}
	come := benchDevice(b, br, "come")
	for _, filter := range []string{"cmd/come/#", "cmd/+/none", "+/none"} {
		for _, topic := range []string{"cmd/17/reset", "state/17/all"} {
			b.Run(filter+" "+topic, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					br.topics.route(topic)
					_ = come.Do(&broker.Request{Op: broker.Subscribe, Topic: filter})
					_ = come.Do(&broker.Request{Op: broker.Unsubscribe, Topic: filter})
				}
			})
		}
	}
}

// BenchmarkFilters is one client's n subscriptions, which it ends one by one or with its
// session. The times are per subscription: they do not depend on n.
func BenchmarkFilters(b *testing.B) {
	for _, n := range []int{1, 100, 10_000, 100_000} {
		filters := make([]string, n)
		for i := range filters {
			filters[i] = fmt.Sprintf("devices/%d/state", i)
		}
		for _, end := range []string{"unsubscribe", "session end"} {
			b.Run(fmt.Sprintf("n=%d/%s", n, end), func(b *testing.B) {
				br := newBroker(b, func(o *Options) { o.MaxSubscriptions = n })
				b.ReportAllocs()
				for i := 0; i < b.N; i += n {
					c := benchDevice(b, br, "d")
					for _, f := range filters {
						_ = c.Do(&broker.Request{Op: broker.Subscribe, Topic: f})
					}
					if end == "unsubscribe" {
						for _, f := range filters {
							_ = c.Do(&broker.Request{Op: broker.Unsubscribe, Topic: f})
						}
					}
					_ = c.Do(&broker.Request{Op: broker.Disconnect})
				}
			})
		}
	}
}
