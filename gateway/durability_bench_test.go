package gateway_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/gateway"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/gateway/store/disk"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// BenchmarkDurability is what it costs to lose nothing: pairs of devices, of which one
// publishes messages of 100 octets with QoS 1, each when the one before it is acknowledged,
// and the other one, whose session is to survive, gets and acknowledges them. An operation
// is one message from the first PUBLISH to the PUBACK of its publisher.
func BenchmarkDurability(b *testing.B) {
	for _, pairs := range []int{1, 16, 256, 1000} {
		for _, kept := range []string{"memory", "disk"} {
			b.Run(fmt.Sprintf("pairs=%d/state=%s", pairs, kept), func(b *testing.B) {
				var st *disk.Store
				if kept == "disk" {
					o := disk.DefaultOptions()
					o.Dir = b.TempDir() + "/state"
					var err error
					if st, err = disk.Open(o, slog.New(slog.DiscardHandler)); err != nil {
						b.Fatal(err)
					}
					defer st.Close()
				}
				e := newExchanges(b, pairs, st)
				defer e.stop()
				var before disk.Stats
				if st != nil {
					before = st.Stats()
				}
				onDisk, cpu := writtenBytes(), cpuTime()
				b.ResetTimer()
				e.run(b.N)
				b.StopTimer()
				b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
				if st == nil {
					return
				}
				after := st.Stats()
				n := float64(b.N)
				b.ReportMetric(float64(after.BytesWritten-before.BytesWritten)/n, "written-B/message")
				b.ReportMetric(float64(writtenBytes()-onDisk)/n, "disk-B/message")
				b.ReportMetric(n/float64(max(after.Commits-before.Commits, 1)), "messages/commit")
			})
		}
	}
}

// writtenBytes is what this process has caused to be written to disks, page by page.
func writtenBytes() (n uint64) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "write_bytes: %d", &n); err == nil {
			break
		}
	}
	return n
}

// cpuTime is what this process has used, in ns: other than the time of the clock it is the
// same when others use the machine.
func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// exchanges are pairs of devices on a link without a medium.
type exchanges struct {
	*air
	pairs   int
	stop    func()
	recv    func([]transports.Datagram)
	batch   []transports.Datagram // on their way to the gateway
	arena   []byte
	decoder mqttsn.Decoder
	ids     []uint16 // topic ids of those who publish
	msgID   uint16
}

func newExchanges(b *testing.B, pairs int, st *disk.Store) *exchanges {
	e := &exchanges{pairs: pairs}
	e.start(b, st)
	e.join()
	return e
}

// start makes a gateway with what is in the store, and has it serve.
func (e *exchanges) start(b *testing.B, st *disk.Store) {
	e.air = &air{recv: make(chan func([]transports.Datagram), 1), news: make(chan struct{}, 1)}
	bo := embedded.DefaultOptions()
	bo.Listeners, bo.SysInterval = nil, 0
	log := slog.New(slog.DiscardHandler)
	var kept store.Store // not a nil *disk.Store
	if st != nil {
		kept = st
	}
	broker, err := embedded.New(bo, kept, log)
	if err != nil {
		b.Fatal(err)
	}
	o := gateway.DefaultOptions()
	o.PublishRate, o.PublishByteRate = 1_000_000, 1_000_000_000
	o.MaxClients = 2*e.pairs + 10
	g, err := gateway.New(o, []transports.Link{e.air}, broker, kept, log)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	e.stop = func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	e.recv = <-e.air.recv
}

// Odd addresses publish, the even ones that follow subscribe.
func address(i int) transports.Addr { return transports.NumberAddr(uint64(i + 1)) }

func numberOf(a transports.Addr) int { return int(binary.BigEndian.Uint64(a[1:9])) - 1 }

func (e *exchanges) send(device int, packet func([]byte) []byte) {
	start := len(e.arena)
	e.arena = packet(e.arena)
	e.batch = append(e.batch, transports.Datagram{Addr: address(device), Data: e.arena[start:]})
}

// flush brings what was sent to the gateway.
func (e *exchanges) flush() {
	for len(e.batch) > 0 {
		n := min(len(e.batch), 64)
		e.recv(e.batch[:n])
		e.batch = e.batch[n:]
	}
	e.batch, e.arena = e.batch[:0], e.arena[:0]
}

// join connects all devices and subscribes half of them.
func (e *exchanges) join() {
	e.ids = make([]uint16, 2*e.pairs)
	for i := range 2 * e.pairs {
		e.send(i, mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, Duration: 60000, ClientID: fmt.Append(nil, "device-", i)}.Append)
	}
	e.flush()
	for have := 0; have < 2*e.pairs; e.flush() {
		<-e.news
		for _, d := range e.take() {
			i := numberOf(d.Addr)
			switch p, _ := e.decoder.Decode(d.Data); p := p.(type) {
			case *mqttsn.Connack:
				if i%2 == 1 {
					e.send(i, mqttsn.Subscribe{QoS: mqttsn.QoS1, MsgID: 1, TopicName: topic(i)}.Append)
				} else {
					e.send(i, mqttsn.Register{MsgID: 1, TopicName: topic(i + 1)}.Append)
				}
			case *mqttsn.Suback:
				have++
			case *mqttsn.Regack:
				e.ids[i] = p.TopicID
				have++
			}
		}
	}
}

func topic(i int) []byte { return fmt.Appendf(nil, "bench/topic/%d", i) }

// run has n messages acknowledged.
func (e *exchanges) run(n int) {
	left, acked := n, 0
	payload := bytes.Repeat([]byte{'x'}, 100)
	next := func(i int) {
		if left > 0 {
			left--
			e.msgID++
			e.send(i, mqttsn.Publish{QoS: mqttsn.QoS1, TopicID: e.ids[i], MsgID: e.msgID | 1, Data: payload}.Append)
		}
	}
	for i := 0; i < 2*e.pairs; i += 2 {
		next(i)
	}
	for e.flush(); acked < n; e.flush() {
		<-e.news
		for _, d := range e.take() {
			switch p, _ := e.decoder.Decode(d.Data); p := p.(type) {
			case *mqttsn.Puback:
				acked++
				next(numberOf(d.Addr))
			case *mqttsn.Publish:
				e.send(numberOf(d.Addr), mqttsn.Puback{TopicID: p.TopicID, MsgID: p.MsgID}.Append)
			}
		}
	}
}
