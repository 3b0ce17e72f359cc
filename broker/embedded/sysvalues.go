package embedded

import (
	"runtime/metrics"
	"strconv"
)

// reading is what values are taken from: at most one snapshot for all of them.
type reading struct {
	sys   *sys
	stats *Stats // nil: not taken yet
	heap  *heap
}

// heap is how many octets the program's heap has.
type heap struct{ current, maximum int }

// sysTable has the topics below $SYS/broker/ but for the averages, and their values. The
// names are in the order of Mosquitto's manual.
var sysTable = [...]struct {
	topic string
	value func(*reading) string
}{
	{"bytes/received", counted(func(s *Stats) uint64 { return s.BytesReceived })},
	{"bytes/sent", counted(func(s *Stats) uint64 { return s.BytesSent })},
	{"clients/connected", number(func(s *Stats) int { return s.Connected })},
	{"clients/active", number(func(s *Stats) int { return s.Connected })},
	{"clients/expired", counted(func(s *Stats) uint64 { return s.Expired })},
	{"clients/disconnected", number((*Stats).away)},
	{"clients/inactive", number((*Stats).away)},
	{"clients/maximum", number(func(s *Stats) int { return s.MaxConnected })},
	{"clients/total", number(func(s *Stats) int { return s.Sessions })},
	{"connections/socket/count", counted(func(s *Stats) uint64 { return s.Accepted })},
	// The heap that is in use, what is not collected yet included, and the memory that
	// was set aside for it.
	{"heap/current", func(r *reading) string { return strconv.Itoa(r.memory().current) }},
	{"heap/maximum", func(r *reading) string { return strconv.Itoa(r.memory().maximum) }},
	{"messages/received", counted(func(s *Stats) uint64 { return s.PacketsReceived })},
	{"messages/sent", counted(func(s *Stats) uint64 { return s.PacketsSent })},
	// Retained messages, and for each client those that wait for it. Octets are those of
	// topics, payloads and properties.
	{"messages/stored", number(func(s *Stats) int { return s.RetainedMessages + s.QueuedMessages })},
	{"store/messages/count", number(func(s *Stats) int { return s.RetainedMessages + s.QueuedMessages })},
	{"store/messages/bytes", number(func(s *Stats) int { return s.RetainedBytes + s.QueuedBytes })},
	{"packet/out/count", number(func(s *Stats) int { return s.DelayedPackets })},
	{"packet/out/bytes", number(func(s *Stats) int { return s.DelayedBytes })},
	// What a limit took, not what was refused or had nowhere to go.
	{"publish/messages/dropped", counted(func(s *Stats) uint64 {
		return s.Dropped[reasonNames[queueFull]] + s.Dropped[reasonNames[brokerFull]] + s.Dropped[reasonNames[slowClient]]
	})},
	{"publish/messages/received", counted(func(s *Stats) uint64 { return total(s.Received) })},
	{"publish/messages/sent", counted(func(s *Stats) uint64 { return total(s.Sent) })},
	{"publish/bytes/received", counted(func(s *Stats) uint64 { return s.ReceivedBytes })},
	{"publish/bytes/sent", counted(func(s *Stats) uint64 { return s.SentBytes })},
	{"retained messages/count", number(func(s *Stats) int { return s.RetainedMessages })},
	{"subscriptions/count", number(func(s *Stats) int { return s.Subscriptions - s.SharedSubscriptions })},
	{"shared_subscriptions/count", number(func(s *Stats) int { return s.SharedSubscriptions })},
	{"uptime", func(r *reading) string { return strconv.Itoa(r.sys.uptime()) + " seconds" }},
	{"version", func(r *reading) string { return r.sys.version }},
}

func counted(f func(*Stats) uint64) func(*reading) string {
	return func(r *reading) string { return strconv.FormatUint(f(r.counters()), 10) }
}

func number(f func(*Stats) int) func(*reading) string {
	return func(r *reading) string { return strconv.Itoa(f(r.counters())) }
}

func total(n [3]uint64) uint64 { return n[0] + n[1] + n[2] }

// away is how many clients with a session are not connected.
func (s *Stats) away() int { return max(s.Sessions-s.Connected, 0) }

func (r *reading) counters() *Stats {
	if r.stats == nil {
		st := r.sys.broker.Stats()
		r.stats = &st
	}
	return r.stats
}

// memory reads the size of the heap. That stops nothing.
func (r *reading) memory() *heap {
	if r.heap != nil {
		return r.heap
	}
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	all := 0
	for _, s := range samples {
		all += int(s.Value.Uint64())
	}
	r.sys.heap = max(r.sys.heap, all)
	r.heap = &heap{current: int(samples[0].Value.Uint64()), maximum: r.sys.heap}
	return r.heap
}
