package e2e

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRadioNetwork is 20 nodes around a coordinator, on the air with losses and reported
// failures. All QoS 1 messages arrive both ways: also those of a node that sleeps, and
// those of one that was switched off for a while, which delays nobody. A message that is
// larger than the air carries is refused and counted, and nothing waits for it.
func TestRadioNetwork(t *testing.T) {
	t.Parallel()
	const nodes, messages = 20, 10
	air := newRadio(t, 115200)
	r := newRigOn(t, overXBee, air, embedded, key("session.t_retry", "1s"), key("session.t_retry_min", "200ms"),
		key("session.t_retry_max", "2s"), key("session.n_retry", "12"), key("mqtt.max_queued_messages", "10000"))
	watcher := r.watch("up/#")
	air.mu.Lock()
	air.loss, air.failure = 0.2, 0.1
	air.mu.Unlock()

	crew := newCrew(r, air, nodes, messages)
	sleeper, off, bulky := crew[nodes-3], crew[nodes-2], crew[nodes-1]
	sleeper.naps = true
	sleeper.listens = func(on bool) {
		if on {
			sleeper.node.become(nodeOn)
		} else {
			sleeper.node.become(nodeDozing)
		}
	}
	for _, m := range crew {
		m.start(t)
	}
	crew.collect(r, watcher, "every node has subscribed and published", func(m *member) bool { return m.up.missing() == 0 })
	off.node.become(nodeOff)
	r.publish(bulky.downTopic(), strings.Repeat("x", overXBee.largest()+1), 1)
	for i := range messages {
		for _, m := range crew {
			r.publish(m.downTopic(), m.down.message(i, m.size), 1)
		}
	}
	crew.collect(r, watcher, "the others have their messages while one is off", func(m *member) bool {
		return m == off || m.down.missing() == 0
	})
	if off.down.missing() != messages {
		t.Error("the node that is off has received something")
	}
	if refused := r.gateway.labelled(t, "drops_total", `reason="too_large"`); refused != 1 {
		t.Errorf("%v messages are counted as too large, want 1", refused)
	}
	off.node.become(nodeOn)
	crew.collect(r, watcher, "the node that was off has its messages", func(m *member) bool { return m.down.missing() == 0 })
	crew.check(t)
	air.mu.Lock()
	defer air.mu.Unlock()
	t.Logf("the air reported %v by status; %d frames went to the node that was off", air.reported, off.node.missed)
	if air.tooLong > 0 {
		t.Errorf("%d packets were larger than the air carries", air.tooLong)
	}
	if sleeper.node.missed > 0 {
		t.Errorf("%d packets were sent to a node that slept", sleeper.node.missed)
	}
}

// member is a stubborn device at a node.
type member struct {
	*stubborn
	node  *node
	ended chan error
}

type crew []*member

func newCrew(r *rig, air *radio, nodes, messages int) crew {
	var all crew
	for i := range nodes {
		n := air.node(r.T)
		s := newStubborn(n, "node-"+string(rune('a'+i)), messages)
		s.retry = time.Second
		all = append(all, &member{stubborn: s, node: n, ended: make(chan error, 1)})
	}
	return all
}

func (m *member) start(t *testing.T) {
	var done sync.WaitGroup
	done.Go(func() { m.ended <- m.run() })
	t.Cleanup(func() {
		_ = m.conn.Close()
		done.Wait()
	})
}

// collect takes what comes to the broker until all members are as wished.
func (c crew) collect(r *rig, watcher *mqttClient, what string, wished func(*member) bool) {
	r.Helper()
	for start := time.Now(); ; {
		waiting := ""
		for _, m := range c {
			if !wished(m) {
				waiting += " " + m.id
			}
		}
		if waiting == "" {
			r.Logf("%s: after %v", what, time.Since(start).Round(time.Millisecond))
			return
		}
		if time.Since(start) > lossyPatience {
			r.Fatalf("%s: not within %v:%s", what, lossyPatience, waiting)
		}
		if message, ok := watcher.next(moment / 4); ok {
			for _, m := range c {
				if message.topic == m.upTopic() {
					m.up.take(message.payload)
				}
			}
		}
	}
}

// check ends the members and looks at what came to them.
func (c crew) check(t *testing.T) {
	t.Helper()
	for _, m := range c {
		_ = m.conn.Close()
		if err := <-m.ended; err != nil {
			t.Errorf("%s: %v", m.id, err)
		}
		if damaged := m.up.damaged + m.down.damaged; damaged > 0 {
			t.Errorf("%s: %d messages came that nobody sent", m.id, damaged)
		}
	}
}
