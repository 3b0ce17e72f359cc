package faults

import (
	"fmt"
	"testing"
)

// TestSleepersOutliveAKill: what was published for sleeping clients before the gateway
// was killed is handed over at their next PINGREQ, all of it, in order, before PINGRESP,
// and without a CONNECT. Nothing of it comes again after another kill.
func TestSleepersOutliveAKill(t *testing.T) {
	beside(t)
	g := newGateway(t)
	g.start()
	if found := sleepThroughKills(t, g, form(10, 200), form(6, 40)); found != "" {
		t.Error(found)
	}
}

// sleepThroughKills tells what was wrong, if anything was.
func sleepThroughKills(t *testing.T, g *gateway, count, messages int) (found string) {
	l := NewLedger()
	var sleepers []*sleeper
	publishers := &fleet{}
	for i := range count {
		topic := fmt.Sprintf("down/%d", i)
		s := newSleeper(t, l, g.udp, fmt.Sprintf("sleeper-%d", i))
		for step, err := range []error{s.connect(), s.subscribe(topic), s.sleep(keepAlive)} {
			if err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
		}
		l.Subscribe(s.id, 0, uint32(i))
		sleepers = append(sleepers, s)
		d := newDevice(t, l, g.udp, fmt.Sprintf("publisher-%d", i), uint32(i))
		d.topics = []string{topic}
		d.more = func() bool { return d.turn < messages }
		publishers.add(t, d)
	}
	eventually(t, "all is published", publishers.resting)
	for range 2 {
		g.kill()
		g.start()
		for _, s := range sleepers {
			if err := s.wake(); err != nil {
				return err.Error()
			}
			if s.strangers > 0 {
				return s.id + " was told that it is a stranger"
			}
		}
		v := l.Judge()
		t.Logf("seed %d: %s", *seed, v)
		if !v.Good() {
			return v.String()
		}
	}
	if met := publishers.stop(); met.disconnects+met.unknownIDs+met.refusals > 0 {
		return fmt.Sprintf("publishers met %+v", met)
	}
	return ""
}
