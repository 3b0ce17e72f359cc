package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	benchmarkBaud = 115200
	// benchmarkPacket is the length of a PUBLISH, and its payload what is behind the header.
	benchmarkPacket, benchmarkPayload = 60, 60 - 7
)

// BenchmarkSerial measures how much of a line of 115,200 baud there is for packets:
// PUBLISH packets of 60 octets with QoS 0, from the broker to a device and from a device
// to the broker. of-line is their octets as a share of what the line carries as a whole,
// framing included; 0.9 is the aim. lost are those that did not arrive.
//
//	go test ./test/e2e -run '^$' -bench Serial -benchtime 2000x
func BenchmarkSerial(b *testing.B) {
	for _, f := range lineFramings {
		b.Run(f.name+"/down", func(b *testing.B) { newBenchLine(b, f).down(b) })
		b.Run(f.name+"/up", func(b *testing.B) { newBenchLine(b, f).up(b) })
	}
}

// benchLine is a gateway, a paced line with a connected device, and an MQTT client.
type benchLine struct {
	*stubborn
	mqtt *mqttClient
}

func newBenchLine(b *testing.B, f lineFraming) *benchLine {
	n := newOneLine(b, f.medium, lineOptions{codec: f.codec, flags: f.flags, baud: benchmarkBaud, paced: true})
	p := newPlan(key("gateway.advertise", "0s"))
	p.args = n.args()
	g := startGateway(b, p, "", nil)
	l := &benchLine{stubborn: newStubborn(n.dial(b), "cli-1", 0), mqtt: dialMQTT(b, g.mqtt, "mqtt", true)}
	for l.stage != toPublish {
		if _, err := l.conn.Write(l.request()); err != nil {
			b.Fatal(err)
		}
		if err := l.listen(time.Now().Add(l.retry)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	return l
}

// report says what so many packets between these times were of the line's capacity, and
// how many of those sent did not arrive.
func report(b *testing.B, arrived int, first, last time.Time) {
	if took := last.Sub(first); arrived > 1 && took > 0 {
		b.ReportMetric(float64((arrived-1)*benchmarkPacket*10)/benchmarkBaud/took.Seconds(), "of-line")
	}
	b.ReportMetric(float64(b.N-arrived), "lost")
}

// benchmarkPatience is how long nothing comes when nothing more is to be expected.
const benchmarkPatience = 3 * time.Second

// down publishes at the broker, never more than a few messages ahead of the device.
func (l *benchLine) down(b *testing.B) {
	const ahead = 32
	arrived := make(chan time.Time, b.N+1)
	go func() {
		buf := make([]byte, 2048)
		for {
			n, err := l.conn.Read(buf)
			if err != nil {
				return
			}
			if n == benchmarkPacket {
				arrived <- time.Now()
			}
		}
	}()
	payload := strings.Repeat("x", benchmarkPayload)
	_ = l.conn.SetReadDeadline(time.Time{})
	var first, last time.Time
	b.ResetTimer()
	got := 0
	for sent, lost := 0, 0; got+lost < b.N; {
		if sent < b.N && sent-got-lost < ahead {
			l.mqtt.publish(l.downTopic(), payload, 0)
			sent++
			continue
		}
		select {
		case last = <-arrived:
			if got++; got == 1 {
				first = last
			}
		case <-time.After(benchmarkPatience):
			lost = sent - got
		}
	}
	b.StopTimer()
	report(b, got, first, last)
}

// up publishes from the device as fast as the line takes it.
func (l *benchLine) up(b *testing.B) {
	l.mqtt.subscribe(l.upTopic(), 0)
	packet, err := encode(fmt.Sprintf("__ 0C 00 %04X 00 00 %s", l.upID, octets(strings.Repeat("x", benchmarkPayload))), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	go func() {
		for i := 0; i < b.N && b.Context().Err() == nil; {
			if _, err := l.conn.Write(packet); err == nil {
				i++
				continue
			}
			<-time.After(10 * time.Millisecond) // the line is full
		}
	}()
	var first, last time.Time
	got := 0
	for got < b.N {
		m, ok := l.mqtt.next(benchmarkPatience)
		if !ok {
			break
		}
		last = m.at
		if got++; got == 1 {
			first = last
		}
	}
	b.StopTimer()
	report(b, got, first, last)
}
