package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestForeignQoS has a client of each kind publish to clients of each kind, with every QoS
// on both sides. Each message arrives once, in order, with the lower QoS of the two.
func TestForeignQoS(t *testing.T) {
	t.Parallel()
	const count = 6
	f := newFair(t)
	var payloads []string
	for i := range count {
		payloads = append(payloads, fmt.Sprintf("%d ä€𝄞", i))
	}
	receivers := [3][]peer{}
	for qos := range receivers {
		receivers[qos] = f.joinEach(kinds, fmt.Sprintf("in%d-", qos), plainly)
		subscribeAll(receivers[qos], "qos/#", byte(qos))
	}
	var senders []peer
	for qos := range byte(3) {
		batch := f.joinEach(kinds, fmt.Sprintf("out%d-", qos), plainly)
		for i, p := range batch {
			p.publish(outgoing{topic: fmt.Sprintf("qos/%d/%s", qos, kinds[i].name), payloads: payloads, qos: qos})
		}
		senders = append(senders, batch...)
	}
	for _, p := range senders {
		p.settle()
	}
	for qos := range receivers {
		for _, p := range receivers[qos] {
			collectStreams(f, p.inbox(), byte(qos), payloads, len(senders))
		}
	}
	// What came twice would be here before this.
	f.publish("qos/end", "of story", 2)
	for qos := range receivers {
		for _, p := range receivers[qos] {
			p.inbox().expect(f, message{topic: "qos/end", payload: "of story", qos: byte(qos)})
		}
	}
}

// collectStreams receives what all senders have published. Streams may come mixed.
func collectStreams(t testing.TB, in *inbox, subscribed byte, payloads []string, streams int) {
	t.Helper()
	seen := map[string]int{}
	for range streams * len(payloads) {
		got, err := in.next()
		if err != nil {
			t.Fatalf("%v; so far: %v", err, seen)
		}
		parts := strings.Split(got.topic, "/")
		if len(parts) != 3 {
			t.Fatalf("%s got %v", in.owner, got.message)
		}
		published := parts[1][0] - '0'
		n := seen[got.topic]
		if n == len(payloads) || got.payload != payloads[n] {
			t.Errorf("%s got %v, not number %d of the topic: lost, out of order or twice", in.owner, got.message, n)
		}
		if got.qos != min(published, subscribed) || got.retain {
			t.Errorf("%s got %v, want QoS %d and not retained", in.owner, got.message, min(published, subscribed))
		}
		seen[got.topic]++
	}
}

// TestForeignRetained has each kind leave a retained message, which those who are there get
// as a live one and those who come later as a retained one, until its publisher deletes it.
func TestForeignRetained(t *testing.T) {
	t.Parallel()
	f := newFair(t)
	early := f.joinEach(kinds, "early-", plainly)
	subscribeAll(early, "kept/#", 1)
	senders := f.joinEach(kinds, "out-", plainly)
	publishEach := func(payload string) (wanted []message) {
		for i, p := range senders {
			topic := "kept/" + kinds[i].name
			p.publish(outgoing{topic: topic, payloads: []string{payload}, qos: 1, retain: true})
			wanted = append(wanted, message{topic: topic, payload: payload, qos: 1})
		}
		for _, p := range senders {
			p.settle()
		}
		return wanted
	}
	wanted := publishEach("here to stay")
	for _, p := range early {
		p.inbox().expectAny(f, wanted...)
	}
	late := f.joinEach(kinds, "late-", plainly)
	subscribeAll(late, "kept/#", 1)
	for i := range wanted {
		wanted[i].retain = true
	}
	for _, p := range late {
		p.inbox().expectAny(f, wanted...)
	}
	wanted = publishEach("")
	for _, p := range append(early, late...) {
		p.inbox().expectAny(f, wanted...)
	}
	after := f.joinEach(kinds, "after-", plainly)
	subscribeAll(after, "kept/#", 1)
	f.publish("kept/end", "of story", 1)
	for _, p := range after {
		p.inbox().expect(f, message{topic: "kept/end", payload: "of story", qos: 1})
	}
}

// TestForeignWills kills a client of each kind, and all kinds learn of it. The wills of
// those that have left in peace are not published.
func TestForeignWills(t *testing.T) {
	t.Parallel()
	f := newFair(t)
	watchers := f.joinEach(kinds, "in-", plainly)
	subscribeAll(watchers, "will/#", 2)
	withWill := func(prefix string) func(kind) greeting {
		return func(k kind) greeting {
			return greeting{will: &testament{Topic: "will/" + prefix + "/" + k.name, Payload: "gone", QoS: 1, Retain: true}}
		}
	}
	leaving := f.joinEach(kinds, "leave-", withWill("leave"))
	dying := f.joinEach(kinds, "die-", withWill("die"))
	subscribeAll(append(dying, leaving...), "idle", 0)
	for _, p := range leaving {
		p.leave()
	}
	// mosquitto_sub ends with the reason code that asks for the will, which MQTT 3 has not.
	wanted := []message{{topic: "will/leave/mosquitto-5", payload: "gone", qos: 1}}
	for i, p := range dying {
		p.die()
		wanted = append(wanted, message{topic: "will/die/" + kinds[i].name, payload: "gone", qos: 1})
	}
	for _, p := range watchers {
		p.inbox().expectAny(f, wanted...)
	}
	late := f.joinEach(kinds, "late-", plainly)
	subscribeAll(late, "will/#", 2)
	for i := range wanted {
		wanted[i].retain = true
	}
	for _, p := range late {
		p.inbox().expectAny(f, wanted...)
	}
	f.publish("will/end", "of story", 2)
	for _, p := range append(watchers, late...) {
		p.inbox().expect(f, message{topic: "will/end", payload: "of story", qos: 2})
	}
}

// TestForeignSessions has a client of each kind go away, by DISCONNECT and without a word,
// and get what was published meanwhile, by all kinds with QoS 1 and 2, when it comes back.
func TestForeignSessions(t *testing.T) {
	t.Parallel()
	f := newFair(t)
	stay := func(kind) greeting { return greeting{keep: true} }
	away := f.joinEach(kinds, "away-", stay)
	subscribeAll(away, "news/#", 2)
	senders := f.joinEach(kinds, "out-", plainly)
	payloads := []string{"1", "2", "3"}
	for round, end := range []func(peer){peer.leave, peer.die} {
		gone := away
		if round == 1 {
			gone = away[:len(away)-1] // a device that says nothing is not away
		}
		for _, p := range gone {
			end(p)
		}
		for qos := byte(1); qos <= 2; qos++ {
			for i, p := range senders {
				p.publish(outgoing{topic: fmt.Sprintf("news/%d/%s", qos, kinds[i].name), payloads: payloads, qos: qos})
			}
			for _, p := range senders {
				p.settle()
			}
		}
		for _, p := range gone {
			p.rejoin()
		}
		for _, p := range away {
			collectStreams(f, p.inbox(), 2, payloads, 2*len(senders))
		}
	}
	f.publish("news/end", "of story", 2)
	for _, p := range away {
		p.inbox().expect(f, message{topic: "news/end", payload: "of story", qos: 2})
	}
}
