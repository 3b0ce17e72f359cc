package e2e

import (
	"fmt"
	"testing"
	"time"
)

// TestPeersGetWrong has what other gateways were seen to fail at.
func TestPeersGetWrong(t *testing.T) { run(t, peersGetWrong) }

var peersGetWrong = table{
	// A client whose id begins like another's took over that one's session.
	"ClientIDIsPrefix": both(func(r *rig) {
		for _, ids := range [][2]string{{"sensor10", "sensor1"}, {"node1", "node10"}} {
			first, second := r.device(ids[0]), r.device(ids[1])
			first.connect(cleanSession, minute)
			first.subscribe("s/"+first.id, 1)
			second.connect(cleanSession, minute)
			second.subscribe("s/"+second.id, 1)
			for _, d := range []*device{first, second} {
				r.publish("s/"+d.id, d.id, 1)
				d.receive("s/"+d.id, d.id, 1)
			}
			first.alive()
			second.alive()
			first.sleep(60)
			second.ask(first.wakeFrame(), "02 17") // wakes the other, at this address
		}
	}),
	// All of 30 were acknowledged to the broker, 10 thrown away, 20 sent in one burst,
	// without PINGRESP.
	"ThirtyMessagesForASleeper": both(func(r *rig) {
		d := subscribed(r, keepSession, 1)
		d.sleep(60)
		for i := range 30 {
			if i == 10 { // so many are surely there in time, the rest may come while it is awake
				eventually(r.T, "messages wait in the gateway", func() bool { return r.metric("queue_messages") == 10 })
			}
			r.publish("s/temp", fmt.Sprint(i), 1)
		}
		d.tell(d.wakeFrame())
		for i := range 30 {
			d.expect(fmt.Sprintf("__ 0C 20 {s/temp} {%d} '%d'", i, i))
			d.silent(moment / 10)
			d.tell(fmt.Sprintf("07 0D {s/temp} {%d} 00", i))
		}
		d.expect("02 17")
		d.silent(moment)
	}),
	// The second PINGREQ was never answered.
	"ManyPINGREQCycles": both(func(r *rig) {
		d := subscribed(r, cleanSession, 1)
		d.sleep(60)
		for i := range 4 {
			r.leave("s/temp", fmt.Sprint(i), 1)
			d.tell(d.wakeFrame())
			d.receive("s/temp", fmt.Sprint(i), 1)
			d.expect("02 17")
			d.ask(d.wakeFrame(), "02 17")
		}
	}),
	// Messages were pushed to a radio that is off.
	"SilenceAfterPINGRESP": both(func(r *rig) {
		d := subscribed(r, cleanSession, 1)
		d.sleep(60)
		d.ask(d.wakeFrame(), "02 17")
		for i := range 12 {
			r.leave("s/temp", fmt.Sprint(i), byte(i%2))
		}
		d.silent(5 * time.Second / 2)
		d.tell(d.wakeFrame())
		for i := range 12 {
			d.receive("s/temp", fmt.Sprint(i), i%2)
		}
		d.expect("02 17")
	}, key("session.t_retry", "2s")),
	// One delivery, no repetition.
	"RetransmissionWithoutPUBACK": both(func(r *rig) {
		d := subscribed(r, cleanSession, 1)
		r.publish("s/temp", "hi", 1)
		d.expect("__ 0C 20 {s/temp} {mid} 'hi'")
		d.expect("__ 0C A0 {s/temp} {mid} 'hi'")
		d.tell("07 0D {s/temp} {mid} 00")
		d.settled("__ 0C A0 {s/temp} {mid} 'hi'")
	}, retryFast),
	// Dropped, or it cost the gateway its connection to the broker.
	"QoSMinusOneWithoutSession": both(func(r *rig) {
		watcher := r.watch("ab")
		for i := range 10 {
			r.device("stranger").tell(fmt.Sprintf("__ 0C 62 'ab' 00 00 '%d'", i))
			watcher.expect("ab", fmt.Sprint(i), 0)
		}
	}),
	// Silence, so the device believed that all was well.
	"UnknownPortIsAnswered": both(func(r *rig) {
		d := subscribed(r, cleanSession, 1)
		moved := d.twin()
		moved.ask("__ 0C 20 {s/temp} 00 07 'hi'", "02 18")
		d.sleep(60)
		moved.ask(moved.wakeFrame(), "02 17")
	}),
	// A wildcard match for a sleeper: the PUBLISH was sent without waiting for REGACK.
	"REGISTERWhileAsleep": both(func(r *rig) {
		d := wild(r, 1)
		d.sleep(60)
		for i := range 3 {
			r.leave(fmt.Sprintf("s/%d", i), fmt.Sprint(i), 1)
		}
		d.tell(d.wakeFrame())
		for i := range 3 {
			d.expect(fmt.Sprintf("__ 0A {tid%d} {reg%d} 's/%d'", i, i, i))
			d.silent(moment)
			d.tell(fmt.Sprintf("07 0B {tid%d} {reg%d} 00", i, i))
			d.expect(fmt.Sprintf("__ 0C 20 {tid%d} {pub%d} '%d'", i, i, i))
			d.silent(moment)
			d.tell(fmt.Sprintf("07 0D {tid%d} {pub%d} 00", i, i))
		}
		d.expect("02 17")
	}),
}
