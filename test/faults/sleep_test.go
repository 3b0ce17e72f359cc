package faults

import (
	"fmt"
	"testing"
)

// TestSleepersOutliveAKill: what was published for sleeping clients before the gateway
// was killed is handed over at their next PINGREQ, all of it, in order, before PINGRESP,
// and without a CONNECT.
func TestSleepersOutliveAKill(t *testing.T) {
	beside(t)
	g := newGateway(t)
	g.start()
	l := NewLedger()
	var sleepers []*sleeper
	publishers := &fleet{}
	messages := form(6, 40)
	for i := range form(10, 200) {
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
	g.kill()
	g.start()
	for _, s := range sleepers {
		if err := s.wake(); err != nil {
			t.Fatal(err)
		}
		if s.strangers > 0 {
			t.Errorf("%s was told that it is a stranger", s.id)
		}
	}
	if met := publishers.stop(); met.disconnects+met.unknownIDs+met.refusals > 0 {
		t.Errorf("publishers met %+v", met)
	}
	v := l.Judge()
	t.Logf("seed %d: %s", *seed, v)
	if !v.Good() {
		t.Error("the oracle has found faults after one wake-up each")
	}
	// The other half of the promise: nothing is handed over again after another kill.
	g.kill()
	g.start()
	for _, s := range sleepers {
		if err := s.wake(); err != nil {
			t.Fatal(err)
		}
	}
	if v := l.Judge(); !v.Good() {
		t.Errorf("after another kill: %s", v)
	}
}
