package e2e

import (
	"bytes"
	"maps"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What MQTT 5 has beyond MQTT 3.1.1, as its clients show it.

// speakFive are the kinds that have properties.
func speakFive() []kind {
	return slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool { return k.version != 5 })
}

// everyProperty is what a publisher can say about a message. Keys of user properties may
// repeat; their order stays.
func everyProperty() *properties {
	return &properties{
		ContentType: "text/plain", ResponseTopic: "answer/here", CorrelationData: "request-1",
		PayloadFormatIndicator: true, MessageExpiryInterval: 3600,
		UserProperties: map[string][]string{"unit": {"degC"}, "place": {"attic", "north"}},
	}
}

// checkProperties compares what was said about a message with what came. Only the expiry
// may differ: it is what is left of it.
func checkProperties(t testing.TB, owner string, got properties, want *properties) {
	t.Helper()
	if left := got.MessageExpiryInterval; left > want.MessageExpiryInterval || left < want.MessageExpiryInterval-600 {
		t.Errorf("%s: message expiry interval %d, want a little less than %d", owner, left, want.MessageExpiryInterval)
	}
	got.MessageExpiryInterval = want.MessageExpiryInterval
	if !reflect.DeepEqual(got, *want) {
		t.Errorf("%s got the properties %+v, want %+v", owner, got, *want)
	}
}

// TestForeignProperties has everything that is said about a message, or a will, arrive at
// the clients that can hear it. The others get the message alone.
func TestForeignProperties(t *testing.T) {
	t.Parallel()
	f := newFair(t)
	receivers := f.joinEach(kinds, "in-", plainly)
	subscribeAll(receivers, "said/#", 1)
	five := speakFive()
	senders := f.joinEach(five, "out-", func(k kind) greeting {
		return greeting{will: &testament{Topic: "said/will/" + k.name, Payload: "gone", QoS: 1, Properties: everyProperty()}}
	})
	subscribeAll(senders, "idle", 0) // mosquitto_sub has the will
	var live, kept, wills []message
	for i, p := range senders {
		for qos := range byte(3) {
			topic := "said/" + strconv.Itoa(int(qos)) + "/" + five[i].name
			p.publish(outgoing{topic: topic, payloads: []string{"21.5"}, qos: qos, properties: everyProperty()})
			p.settle()
			live = append(live, message{topic: topic, payload: "21.5", qos: min(qos, 1)})
		}
		topic := "said/kept/" + five[i].name
		p.publish(outgoing{topic: topic, payloads: []string{"21.5"}, qos: 1, retain: true, properties: everyProperty()})
		p.settle()
		live = append(live, message{topic: topic, payload: "21.5", qos: 1})
		kept = append(kept, message{topic: topic, payload: "21.5", qos: 1, retain: true})
		wills = append(wills, message{topic: "said/will/" + five[i].name, payload: "gone", qos: 1})
	}
	expectWithProperties(f, receivers, live)
	late := f.joinEach(kinds, "late-", plainly)
	subscribeAll(late, "said/#", 1)
	expectWithProperties(f, late, kept)
	for _, p := range senders {
		p.die()
	}
	expectWithProperties(f, append(receivers, late...), wills)
}

// expectWithProperties has peers, one of each kind in turn, receive messages with
// everyProperty.
func expectWithProperties(f *fair, peers []peer, wanted []message) {
	f.Helper()
	for i, p := range peers {
		for topic, got := range p.inbox().expectAny(f, wanted...) {
			want := &properties{}
			if kinds[i%len(kinds)].version == 5 {
				want = everyProperty()
			}
			checkProperties(f, p.inbox().owner+" from "+topic, got.properties, want)
		}
	}
}

// TestForeignIdentifiers has clients learn by which of their subscriptions a message came,
// and only those that have asked to.
func TestForeignIdentifiers(t *testing.T) {
	t.Parallel()
	f := newFair(t)
	for _, k := range speakFive() {
		p, ok := f.join(k, "in-"+k.name, greeting{}).(*libraryClient)
		if !ok {
			continue // mosquitto_sub has one subscription identifier for all
		}
		qos := byte(1)
		for id, filter := range []string{"id/none", "id/+/one", "id/two"} {
			p.subscribeAs(command{Do: "subscribe", Filter: filter, QoS: &qos, Properties: &properties{SubscriptionIdentifier: id}})
		}
		for id, topic := range []string{"id/none", "id/x/one", "id/two"} {
			f.publish(topic, "hi", 1)
			got := p.in.expect(t, message{topic: topic, payload: "hi", qos: 1})
			if got.properties.SubscriptionIdentifier != id {
				t.Errorf("%s: %s has the subscription identifier %d, want %d", k.name, topic, got.properties.SubscriptionIdentifier, id)
			}
		}
	}
}

// TestForeignReasonCodes has the libraries show why the broker does what it does: a message
// without subscribers, a subscription that there is not, a client id that somebody else
// has now.
func TestForeignReasonCodes(t *testing.T) {
	t.Parallel()
	const noMatchingSubscribers, noSubscriptionExisted, sessionTakenOver = 0x10, 0x11, 0x8E
	f := newFair(t)
	for _, k := range speakFive() {
		p, ok := f.join(k, "own-"+k.name, greeting{}).(*libraryClient)
		if !ok {
			continue // mosquitto_pub is asked below
		}
		p.do(command{Do: "unsubscribe", Filter: "nobody/cares"})
		if e := p.answer("unsubscribed"); !slices.Equal(e.Codes, []int{noSubscriptionExisted}) {
			t.Errorf("%s: UNSUBACK shows as %v, want [%d]", k.name, e.Codes, noSubscriptionExisted)
		}
		for qos := byte(1); qos <= 2; qos++ {
			p.publish(outgoing{topic: "nobody/cares", payloads: []string{"hi"}, qos: qos})
			// paho 1.6 does not tell its callback.
			if e := p.answer("published"); k.shortName() == "mqttjs" && !slices.Equal(e.Codes, []int{noMatchingSubscribers}) {
				t.Errorf("%s: QoS %d: the acknowledgement shows as %v, want [%d]", k.name, qos, e.Codes, noMatchingSubscribers)
			}
		}
		thief := dialMQTT(t, f.gateway.mqtt, "own-"+k.name, true)
		e := event{}
		for e.Event != "disconnected" && e.Event != "dismissed" {
			e = p.answer("dismissed", "disconnected")
		}
		// paho overlooks a reason code that no property follows.
		if k.shortName() != "paho" && !slices.Equal(e.Codes, []int{sessionTakenOver}) {
			t.Errorf("%s: the DISCONNECT of a takeover shows as %s %v, want [%d]", k.name, e.Event, e.Codes, sessionTakenOver)
		}
		thief.publish("nobody/cares", "hi", 1)
	}
	out, err := exec.Command(tool(t, "mosquitto_pub", "the package mosquitto-clients"),
		"-p", strconv.Itoa(f.port), "-V", "mqttv5", "-d", "-q", "1", "-t", "nobody/cares", "-m", "hi").CombinedOutput()
	if want := "received PUBACK (Mid: 1, RC:16)"; err != nil || !bytes.Contains(out, []byte(want)) {
		t.Errorf("mosquitto_pub: %v\n%swant %q", err, out, want)
	}
}

// TestForeignAliases has MQTT.js, which can do so, use topic aliases both ways: what it
// publishes under an alias arrives under its name, and the broker may send it aliases.
func TestForeignAliases(t *testing.T) {
	t.Parallel()
	f := newFair(t)
	k := kindNamed("mqttjs-5")
	others := f.joinEach(kinds, "in-", plainly)
	subscribeAll(others, "alias/#", 1)
	p := f.join(k, "alias", greeting{aliases: 4}).(*libraryClient)
	if p.connected.Properties.TopicAliasMaximum == 0 {
		t.Fatal("the broker takes no topic aliases")
	}
	p.subscribe("alias/#", 1)
	aliased := 0
	// More topics than aliases: they are given to others in turn.
	for round := range 3 {
		var wanted []message
		for n := range p.connected.Properties.TopicAliasMaximum + 2 {
			topic := "alias/" + strings.Repeat("long/", 10) + strconv.Itoa(n%8)
			p.publish(outgoing{topic: topic, payloads: []string{strconv.Itoa(round)}, qos: byte(n % 2)})
			p.settle()
			wanted = append(wanted, message{topic: topic, payload: strconv.Itoa(round), qos: byte(n % 2)})
		}
		for _, other := range others {
			other.inbox().expectAny(t, wanted...)
		}
		for got := range maps.Values(p.in.expectAny(t, wanted...)) {
			if got.properties.TopicAlias > 0 {
				aliased++
			}
		}
	}
	if aliased == 0 {
		t.Error("the broker never used a topic alias")
	}
}

// TestForeignRequests has mosquitto_rr ask, and clients of the libraries answer as the
// request says: to its response topic, with its correlation data.
func TestForeignRequests(t *testing.T) {
	t.Parallel()
	f := newFair(t)
	for _, k := range speakFive() {
		p, ok := f.join(k, "answers-"+k.name, greeting{}).(*libraryClient)
		if !ok {
			continue
		}
		p.subscribe("request/"+k.name, 1)
		ask := launch(t, "mosquitto_rr", tool(t, "mosquitto_rr", "the package mosquitto-clients"), "-p", strconv.Itoa(f.port),
			"-V", "mqttv5", "-q", "1", "-t", "request/"+k.name, "-e", "reply/"+k.name, "-m", "how warm?", "-W", "30",
			"-D", "publish", "correlation-data", "request-1")
		t.Cleanup(ask.kill)
		got := p.in.expect(t, message{topic: "request/" + k.name, payload: "how warm?", qos: 1}).properties
		if got.ResponseTopic != "reply/"+k.name || got.CorrelationData != "request-1" {
			t.Errorf("%s got a request with %+v", k.name, got)
		}
		p.publish(outgoing{topic: got.ResponseTopic, payloads: []string{"21.5"}, qos: 1, properties: &properties{CorrelationData: got.CorrelationData}})
		p.settle()
		eventually(t, "mosquitto_rr has its answer", func() bool { return !ask.running() })
		if ask.err != nil || strings.TrimSpace(ask.log.String()) != "21.5" {
			t.Errorf("mosquitto_rr ended with %v and printed %q, want the answer of %s", ask.err, ask.log, k.name)
		}
	}
}
