package faults

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// judge is a listener for very many messages: it reads and acknowledges many at a time,
// and tells the herd when each has come.
type judge struct {
	listener
	herd *herd
}

func startJudge(t testing.TB, h *herd, addr string) *judge {
	t.Helper()
	j := &judge{herd: h, listener: listener{id: "judge", addr: addr, filter: "out/#", ledger: h.ledger,
		unreleased: map[uint16]bool{}, stopped: make(chan struct{})}}
	go j.run()
	t.Cleanup(j.stop)
	eventually(t, "the judge has subscribed", j.ready.Load)
	return j
}

func (j *judge) run() {
	defer close(j.stopped)
	for {
		conn, err := net.DialTimeout("tcp", j.addr, time.Second)
		j.mu.Lock()
		j.conn = conn
		closed := j.closed
		j.mu.Unlock()
		if err == nil && !closed {
			j.serve(conn)
		}
		if err == nil {
			_ = conn.Close()
		}
		if closed {
			return
		}
		pass(20 * time.Millisecond)
	}
}

// collected are answers that leave together.
type collected struct {
	net.Conn
	out *bufio.Writer
}

func (c collected) Write(b []byte) (int, error) { return c.out.Write(b) }

func (j *judge) serve(conn net.Conn) {
	expiry := uint32(24 * 3600)
	connect := packets.NewControlPacket(packets.CONNECT)
	content := connect.Content.(*packets.Connect)
	content.ClientID, content.KeepAlive = j.id, 0
	content.Properties.SessionExpiryInterval = &expiry
	if _, err := connect.WriteTo(conn); err != nil {
		return
	}
	in, out := bufio.NewReaderSize(conn, 64<<10), collected{conn, bufio.NewWriterSize(conn, 64<<10)}
	for {
		p, err := packets.ReadPacket(in)
		if err != nil || !j.hear(out, p) {
			return
		}
		if m, ok := p.Content.(*packets.Publish); ok {
			j.herd.receive(m.Payload)
		}
		if in.Buffered() == 0 && out.out.Flush() != nil {
			return
		}
	}
}

// stage is a part of the test.
type stage int32

const (
	calm      stage = iota
	away            // the broker is away
	returning       // it is back, and the gateway makes its connections again
	draining        // all connections are there
	drained         // all of the outage has arrived
	stages
)

var stageNames = [stages]string{"calm", "broker away", "reconnecting", "draining", "drained"}

// setting is what a time is told for: the stage when its message was begun, and whether
// all that its sensor had published before the broker came back had arrived.
type setting struct {
	stage stage
	clean bool
}

func (h *herd) setting(clean bool) setting { return setting{stage(h.stage.Load()), clean} }

// times are those of messages. Safe for concurrent use.
type times struct {
	mu   sync.Mutex
	each map[setting][]time.Duration
}

func (t *times) add(m moment) {
	took := time.Since(m.at)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.each == nil {
		t.each = map[setting][]time.Duration{}
	}
	t.each[m.in] = append(t.each[m.in], took)
}

// percentile is the time that so many of 100 messages took at most; 0 without any.
func (t *times) percentile(in setting, p float64) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.each[in]
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[min(len(list)-1, int(float64(len(list))*p/100))].Round(100 * time.Microsecond)
}

func (t *times) count(in setting) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.each[in])
}

// table tells the times of all settings that there were.
func (h *herd) table() string {
	var b strings.Builder
	for stage := range stages {
		for _, clean := range []bool{true, false} {
			in := setting{stage, clean}
			if h.acks.count(in) == 0 {
				continue
			}
			own := map[bool]string{true: "nothing of its own owed", false: "behind its own spool"}[clean]
			fmt.Fprintf(&b, "\n%-12s %-23s %7d messages: PUBACK p50 %v p99 %v; end to end p50 %v p99 %v", stageNames[stage], own,
				h.acks.count(in), h.acks.percentile(in, 50), h.acks.percentile(in, 99), h.arrivals.percentile(in, 50), h.arrivals.percentile(in, 99))
		}
	}
	return b.String()
}
