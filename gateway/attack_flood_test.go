package gateway

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// drain is a link that counts what it sends, by type, to the addresses of established clients.
type drain struct {
	nullLink
	mu          sync.Mutex
	established map[transports.Addr]bool
	sent        [typeSlots]int
	others      int
	at          time.Time // when the last one was sent to an established client
}

func (l *drain) Send(batch []transports.Datagram) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range batch {
		if !l.established[d.Addr] {
			l.others++
		} else if t, _, err := mqttsn.Peek(d.Data); err == nil {
			l.sent[slot(t)]++
			l.at = time.Now()
		}
	}
	return len(batch), nil
}

// flooded is a gateway with the broker inside and established clients "c0", "c1" and so on.
type flooded struct {
	*testing.T
	gateway *Gateway
	link    *drain
	clients int
	msgID   uint16
}

func newFlooded(t *testing.T, clients int) *flooded {
	t.Helper()
	bo := embedded.DefaultOptions()
	bo.Listeners = nil
	b, err := embedded.New(bo, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f := &flooded{T: t, link: &drain{established: make(map[transports.Addr]bool)}, clients: clients}
	o := DefaultOptions()
	o.Shards = 2
	if f.gateway, err = New(o, []transports.Link{f.link}, b, nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.gateway.over.Store(true)
		for _, s := range f.gateway.shards {
			s.timer.Stop()
		}
	})
	for i := range clients {
		f.link.established[addr(i)] = true
		f.in(datagram(addr(i), connect(fmt.Sprint("c", i))))
	}
	if n := f.got(mqttsn.TypeConnack); n != clients {
		t.Fatalf("%d of %d clients are connected", n, clients)
	}
	return f
}

func datagram(from transports.Addr, p mqttsn.Packet) transports.Datagram {
	return transports.Datagram{Addr: from, Data: p.Append(nil)}
}

func (f *flooded) in(batch ...transports.Datagram) { f.gateway.intakes[0].receive(batch) }

// took is how long the established client in a batch waits for its answer.
func (f *flooded) took(batch ...transports.Datagram) time.Duration {
	begin := time.Now()
	f.in(batch...)
	f.link.mu.Lock()
	defer f.link.mu.Unlock()
	return f.link.at.Sub(begin)
}

func (f *flooded) got(t mqttsn.Type) int {
	f.link.mu.Lock()
	defer f.link.mu.Unlock()
	return f.link.sent[slot(t)]
}

// exchange is a PUBLISH with QoS 1 of the ith client; it is answered before in returns.
func (f *flooded) exchange(i int) transports.Datagram {
	f.msgID = f.msgID%65535 + 1
	return datagram(addr(i%f.clients), mqttsn.Publish{QoS: 1, MsgID: f.msgID, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab"), Data: []byte("21.5")})
}

func heap() (inUse, system uint64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.Sys
}

func percentile(of []time.Duration, p int) time.Duration {
	slices.Sort(of)
	return of[len(of)*p/100]
}

const mebibyte = 1 << 20

// A million spoofed sources, each with one packet, cost next to no memory and no established
// client its session. What they cost each client in time is told and not judged: it is
// within the batch in which its packet comes.
func TestAttackSpoofedSources(t *testing.T) {
	const sources, batchSize, clients = 1_000_000, 64, 100
	f := newFlooded(t, clients)
	var alone, among []time.Duration
	for i := range 2000 {
		d := f.exchange(i)
		alone = append(alone, f.took(d))
	}
	random := rand.New(rand.NewPCG(1, 2))
	heapBefore, sysBefore := heap()
	begin := time.Now()
	batch := make([]transports.Datagram, 0, batchSize)
	answers := 2000
	for i := range sources {
		var ip [4]byte
		binary.BigEndian.PutUint32(ip[:], uint32(i)*2654435761)
		ip[0] = 11 + ip[0]%100
		from := transports.IPAddr(netip.AddrPortFrom(netip.AddrFrom4(ip), uint16(1024+random.Uint32N(60000))), 0)
		var p mqttsn.Packet
		switch i % 5 {
		case 0:
			p = mqttsn.Connect{ProtocolID: 1, Duration: 60, ClientID: fmt.Appendf(nil, "spoofed-%d", i)}
		case 1:
			p = mqttsn.SearchGW{Radius: 1}
		case 2:
			p = mqttsn.Pingreq{ClientID: fmt.Appendf(nil, "nobody-%d", i)}
			if i%2 == 0 {
				p = mqttsn.Pingreq{}
			}
		case 3:
			p = mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("xy"), Data: []byte("flood")}
		default:
			batch = append(batch, transports.Datagram{Addr: from, Data: []byte{7, 0x99, byte(i), 1, 2, 3, 4}})
			continue
		}
		if batch = append(batch, datagram(from, p)); len(batch) >= batchSize-1 {
			batch = append(batch, f.exchange(i))
			among = append(among, f.took(batch...))
			batch = batch[:0]
			answers++
		}
	}
	took := time.Since(begin)
	heapAfter, sysAfter := heap()
	st := f.gateway.Stats()
	t.Logf("A6, T-S1: %d spoofed sources in %v, %.0f ns each with the broker and the making of the packets: heap %+.1f MiB, all memory %+.1f MiB; %d sessions (%d of them established), %d answers sent to spoofed addresses",
		sources, took.Round(time.Millisecond), float64(took.Nanoseconds())/sources, float64(int64(heapAfter)-int64(heapBefore))/mebibyte, float64(int64(sysAfter)-int64(sysBefore))/mebibyte,
		f.gateway.clients.Load(), clients, f.link.others)
	t.Logf("an exchange of an established client: alone p50 %v, p99 %v; as the last of a batch of %d with %d spoofed ones p50 %v, p99 %v",
		percentile(alone, 50), percentile(alone, 99), batchSize, batchSize-1, percentile(among, 50), percentile(among, 99))
	t.Logf("dropped: connect_rate %d, connect_rate_per_prefix %d, search_rate %d, qos_minus_one_rate %d, unknown_peer %d, malformed %d",
		st.Dropped["connect_rate"], st.Dropped["connect_rate_per_prefix"], st.Dropped["search_rate"], st.Dropped["qos_minus_one_rate"], st.Dropped["unknown_peer"], st.Dropped["malformed"])
	// The longer it takes, the more sessions the rates let through: 2 KiB for each.
	if grown := int64(heapAfter) - int64(heapBefore); grown > 8*mebibyte+f.gateway.clients.Load()*2<<10 {
		t.Errorf("the heap has grown by %d MiB", grown/mebibyte)
	}
	if n := f.got(mqttsn.TypePuback); n != answers {
		t.Errorf("%d of %d messages of established clients were acknowledged", n, answers)
	}
	for i := range clients {
		s := f.gateway.shardOf(fmt.Appendf(nil, "c%d", i))
		s.mu.Lock()
		c := s.clients[fmt.Sprint("c", i)]
		s.mu.Unlock()
		if c == nil || !alive(c) || !c.livesAt(transports.Peer{Addr: addr(i)}) {
			t.Fatalf("the session of established client %d is lost", i)
		}
	}
}

// Topic ids, and QoS 2 messages that are never released, are bounded for each client: a million
// requests leave as much memory as the first thousand.
func TestAttackExhaustion(t *testing.T) {
	const requests, patience = 1_000_000, 15 * time.Second // on a slow machine fewer
	for _, c := range []struct {
		name string
		p    func(i int) mqttsn.Packet
	}{
		{"A8: REGISTER of fresh names", func(i int) mqttsn.Packet {
			return mqttsn.Register{MsgID: uint16(i%65535 + 1), TopicName: fmt.Appendf(nil, "topic/%d", i)}
		}},
		{"A9: PUBLISH with QoS 2, never PUBREL", func(i int) mqttsn.Packet {
			return mqttsn.Publish{QoS: 2, MsgID: uint16(i%65535 + 1), TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab"), Data: fmt.Appendf(nil, "%d", i)}
		}},
		{"SUBSCRIBE to fresh names", func(i int) mqttsn.Packet {
			return mqttsn.Subscribe{QoS: 1, MsgID: uint16(i%65535 + 1), TopicName: fmt.Appendf(nil, "topic/%d", i)}
		}},
	} {
		f := newFlooded(t, 2)
		f.gateway.perMessage, f.gateway.perOctet = 0, 0
		var before, after uint64
		done := 0
		begin := time.Now()
		batch := make([]transports.Datagram, 0, 64)
		for i := range requests {
			if i == 1000 {
				before, _ = heap()
			}
			if done = i + 1; i%1000 == 0 && time.Since(begin) > patience {
				break
			}
			if batch = append(batch, datagram(addr(0), c.p(i))); len(batch) == cap(batch) {
				f.in(batch...)
				batch = batch[:0]
			}
		}
		took := time.Since(begin)
		after, _ = heap()
		f.in(f.exchange(1))
		t.Logf("%s: %d of them in %v: heap %+.0f KiB after the first thousand", c.name, done, took.Round(time.Millisecond), float64(int64(after)-int64(before))/1024)
		if int64(after)-int64(before) > mebibyte {
			t.Errorf("%s: the heap has grown by %d octets", c.name, int64(after)-int64(before))
		}
		if f.got(mqttsn.TypePuback) == 0 {
			t.Errorf("%s: another client was not served", c.name)
		}
	}
}

// One client that publishes at ten times its limit is served up to the limit, and 99 others are
// served in full. How long they wait is told and not judged.
func TestAttackNoisyNeighbour(t *testing.T) {
	const clients, seconds = 100, 2
	f := newFlooded(t, clients)
	measure := func() (took []time.Duration) {
		for end := time.Now().Add(seconds * time.Second / 2); time.Now().Before(end); {
			d := f.exchange(len(took)%(clients-1) + 1)
			took = append(took, f.took(d))
		}
		return took
	}
	alone := measure()
	before := f.gateway.Stats()
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		sent, begin := 0, time.Now()
		batch := make([]transports.Datagram, 32)
		for {
			select {
			case <-stop:
				stopped <- sent
				return
			default:
			}
			if float64(sent) > 10*float64(f.gateway.options.PublishRate)*time.Since(begin).Seconds() {
				runtime.Gosched()
				continue
			}
			for i := range batch {
				batch[i] = datagram(addr(0), mqttsn.Publish{TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("no"), Data: make([]byte, 60)})
			}
			f.in(batch...)
			sent += len(batch)
		}
	}()
	answered := f.got(mqttsn.TypePuback)
	among := measure()
	answered = f.got(mqttsn.TypePuback) - answered
	close(stop)
	sent := <-stopped
	after := f.gateway.Stats()
	refused := after.Dropped["publish_rate"] - before.Dropped["publish_rate"]
	t.Logf("T-S9: one client sent %d messages in a second or so, %d were beyond its limit of %d per second; an exchange of the others: alone p50 %v, p99 %v, beside it p50 %v, p99 %v",
		sent, refused, f.gateway.options.PublishRate, percentile(alone, 50), percentile(alone, 99), percentile(among, 50), percentile(among, 99))
	if answered != len(among) {
		t.Errorf("%d of %d messages of the others were acknowledged", answered, len(among))
	}
	if sent > 3*f.gateway.options.PublishRate && refused == 0 {
		t.Error("nothing was refused")
	}
}
