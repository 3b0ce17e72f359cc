package embedded

import (
	"math"
	"strconv"
	"time"
)

// loads are moving averages of how fast counters grow, per minute, as Mosquitto has them
// and Unix its load average: with each sample an average forgets a share of what it was
// that depends on the time since the last one alone, 1-1/e in the time that it is over.
type loads struct {
	sampled time.Duration // when
	last    [loadCount]uint64
	average [loadCount][len(loadSpans)]float64
}

// loadSpans are what the averages are over.
var loadSpans = [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute}

const loadCount = 9

// loadTable has the topics below $SYS/broker/, and what they are averages of.
var loadTable = [loadCount]struct {
	topics [len(loadSpans)]string
	count  func(*counters) uint64
}{
	{loadTopics("messages/received"), func(c *counters) uint64 { return c.packetsIn.Load() }},
	{loadTopics("messages/sent"), func(c *counters) uint64 { return c.packetsOut.Load() }},
	{loadTopics("publish/dropped"), func(c *counters) uint64 {
		return c.dropped[queueFull].Load() + c.dropped[brokerFull].Load() + c.dropped[slowClient].Load()
	}},
	{loadTopics("publish/received"), func(c *counters) uint64 {
		return c.received[0].Load() + c.received[1].Load() + c.received[2].Load()
	}},
	{loadTopics("publish/sent"), func(c *counters) uint64 { return c.sent[0].Load() + c.sent[1].Load() + c.sent[2].Load() }},
	{loadTopics("bytes/received"), func(c *counters) uint64 { return c.bytesIn.Load() }},
	{loadTopics("bytes/sent"), func(c *counters) uint64 { return c.bytesOut.Load() }},
	{loadTopics("sockets"), func(c *counters) uint64 { return c.accepted.Load() }},
	{loadTopics("connections"), func(c *counters) uint64 { return c.connects.Load() }},
}

func loadTopics(of string) (topics [len(loadSpans)]string) {
	for k, span := range loadSpans {
		topics[k] = "load/" + of + "/" + strconv.Itoa(int(span/time.Minute)) + "min"
	}
	return topics
}

// sample takes the counters' values at now into the averages.
func (l *loads) sample(c *counters, now time.Duration) {
	passed := now - l.sampled
	if passed <= 0 {
		return
	}
	l.sampled = now
	var kept [len(loadSpans)]float64
	for k, span := range loadSpans {
		kept[k] = math.Exp(-passed.Seconds() / span.Seconds())
	}
	for i := range loadTable {
		n := loadTable[i].count(c)
		perMinute := float64(n-l.last[i]) / passed.Minutes()
		l.last[i] = n
		for k := range loadSpans {
			l.average[i][k] = perMinute + kept[k]*(l.average[i][k]-perMinute)
		}
	}
}

// value is an average as it is published: with two decimals.
func (l *loads) value(i, k int) string { return strconv.FormatFloat(l.average[i][k], 'f', 2, 64) }
