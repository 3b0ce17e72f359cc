package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// TestSessions has what sessions owe their clients beyond the list of ids.
func TestSessions(t *testing.T) { run(t, sessions, listeners) }

var sessions = table{
	// A QoS 2 delivery goes on where it was after a reconnect: never a second PUBLISH once
	// the device has sent PUBREC (4.3).
	"QoS2GoesOnAfterReconnect": both(func(r *rig) {
		d := subscribed(r, keepSession, 2)
		r.publish("s/temp", "hi", 2)
		d.expect("__ 0C 40 {s/temp} {mid} 'hi'")
		d.ask("04 0F {mid}", "04 10 {mid}") // and the device does not answer
		d.disconnect()
		d.connect(keepSession, minute)
		d.expect("04 10 {mid}")
		d.tell("04 0E {mid}")
		d.alive()
	}),
	// What was not acknowledged comes again, with the same MsgId.
	"UnacknowledgedComesAgain": both(func(r *rig) {
		for _, qos := range []int{1, 2} {
			d := subscribed(r, keepSession, qos)
			r.publish("s/temp", "hi", byte(qos))
			d.expect(fmt.Sprintf("__ 0C %02X {s/temp} {mid%d} 'hi'", qos<<5, qos))
			d.disconnect()
			d.connect(keepSession, minute)
			d.receive("s/temp", "hi", qos)
			d.alive()
			d.disconnect()
		}
	}),
	// A client id is one client, whichever protocol it speaks: MQTT takes the session over.
	"TakenOverByMQTT": {
		embedded: does(func(r *rig) {
			d := subscribed(r, keepSession, 1)
			c := dialMQTT(r.T, r.gateway.mqtt, "cli-1", false)
			if !c.sessionPresent {
				r.Error("the client's session is not there")
			}
			d.discard("02 18")
			r.publish("s/temp", "hi", 1)
			c.expect("s/temp", "hi", 1)
			d.silent(moment)
			d.ask("02 16", "02 18")
		}),
		upstream: absent("Mosquitto 2.0 does not say why it closes a connection; MovesToAnotherGateway has what comes of it"),
	},
	// A device moves to another gateway at the same broker: no quarrel over its client id,
	// no will, and the messages go where it is (3.13).
	"MovesToAnotherGateway": {
		embedded: absent("two gateways with embedded brokers have no broker in common"),
		upstream: does(moveToAnotherGateway),
	},
	// The broker's sessions outlive the gateway: nothing is lost that was published while it
	// was dead (4.3).
	"GatewayIsKilled": {
		embedded: absent("without a state directory the embedded broker lives and dies with the gateway; see KeepsStateWhenKilled"),
		upstream: does(func(r *rig) {
			d := subscribed(r, keepSession, 1)
			r.gateway.kill()
			r.publish("s/temp", "in between", 1)
			r.restartGateway()
			d.ask("02 16", "02 18")
			d.connect(keepSession, minute)
			d.receive("s/temp", "in between", 1)
			r.publish("s/temp", "after", 1)
			d.receive("s/temp", "after", 1)
		}),
	},
	// With a state directory a device does not notice that the gateway was killed: it goes on
	// publishing with the topic ids that it has, and a sleeper wakes up and gets its messages.
	"KeepsStateWhenKilled": both(killAndGoOn, withState),
	"AggregatingKeepsStateWhenKilled": {
		embedded: absent("there is nothing to aggregate"),
		upstream: does(killAndGoOn, aggregating),
	},
	"AggregatingOutlivesTheBroker": {
		embedded: absent("there is nothing to aggregate"),
		upstream: does(func(r *rig) {
			d := subscribed(r, keepSession, 1)
			d.register("s/up")
			r.publish("s/temp", "before", 1)
			d.receive("s/temp", "before", 1)
			r.mosquitto.kill()
			r.publisher = nil
			d.ask("__ 0C 20 {s/up} 00 09 'while away'", "07 0D {s/up} 00 09 00")
			r.mosquitto.start(r.T)
			eventually(r.T, "the subscription is back", func() bool { return strings.Contains(r.mosquitto.log.String(), "s/temp") })
			r.publish("s/temp", "after", 1)
			d.receive("s/temp", "after", 1)
		}, aggregating),
	},
	// A shared subscription is a name, and what it delivers has another (4.3).
	"SharedSubscription": both(func(r *rig) {
		d := r.client(cleanSession)
		d.subscribeAll("$share/g/s/#", 1)
		r.publish("s/x", "hi", 1)
		d.receive("s/x", "hi", 1)
	}),
	// Limits are congestion, and not the end of anything (2.2).
	"TopicLimit": both(func(r *rig) {
		d := r.client(cleanSession)
		d.register("s/1")
		d.register("s/2")
		d.ask("__ 0A 00 00 00 03 's/3'", "07 0B 00 00 00 03 01")
		d.ask("__ 12 20 00 04 's/4'", "08 13 ?? 00 00 00 04 01")
		d.ask("__ 0C 20 {s/2} 00 05 'hi'", "07 0D {s/2} 00 05 00")
		d.ask("__ 0A 00 00 00 06 's/1'", "07 0B {s/1} 00 06 00")
	}, key("session.max_topics", "2")),
	"LongTopic": both(func(r *rig) {
		d := r.client(cleanSession)
		name := octets(strings.Repeat("x", 257))
		d.ask("__ 0A 00 00 00 03 "+name, "07 0B 00 00 00 03 03")
		d.ask("__ 12 20 00 04 "+name, "08 13 ?? 00 00 00 04 03")
		d.alive()
	}),
}

var listeners = table{
	// Several addresses, IPv4 and IPv6, are one gateway.
	"SeveralAddresses": both(func(r *rig) {
		watcher := r.watch("s/#")
		second, third := freeAddr(r.T), freeAddr(r.T)
		_, port, err := net.SplitHostPort(third)
		if err != nil {
			r.Fatal(err)
		}
		r.gateway.checkedStop(r.T)
		r.plan.args = []string{"--udp", second, "--udp", "[::1]:" + port}
		_ = watcher.conn.Close()
		r.restartGateway()
		watcher = r.watch("s/#")
		for i, addr := range []string{r.gateway.udp, second, "[::1]:" + port} {
			d := newDevice(r.T, addr, fmt.Sprint("cli-", i))
			d.connect(cleanSession, minute)
			d.register("s/temp")
			d.ask("__ 0C 20 {s/temp} 00 07 'hi'", "07 0D {s/temp} 00 07 00")
			watcher.expect("s/temp", "hi", 1)
		}
	}),
	// A device that asks one of many addresses is answered from that address: a connected
	// socket hears nothing else.
	"AnswerFromTheAddressThatWasAsked": both(func(r *rig) {
		_, port, err := net.SplitHostPort(freeAddr(r.T))
		if err != nil {
			r.Fatal(err)
		}
		r.gateway.checkedStop(r.T)
		r.plan.args = []string{"--udp", ":" + port}
		r.restartGateway()
		for i, host := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
			d := newDevice(r.T, net.JoinHostPort(host, port), fmt.Sprint("cli-", i))
			d.connect(cleanSession, minute)
			d.subscribe("s/temp", 1)
			r.publish("s/temp", host, 1)
			d.receive("s/temp", host, 1)
			d.disconnect()
		}
	}),
}

func moveToAnotherGateway(r *rig) {
	watcher := r.watch("w/#")
	here := r.device("cli-1")
	here.connectWithWill(keepSession, minute, lastWill)
	here.subscribe("s/temp", 1)
	other := startGateway(r.T, r.plan, r.mosquitto.addr, nil)
	there := newDevice(r.T, other.udp, "cli-1")
	there.connect(keepSession, minute)
	for quarrels := -1; quarrels != r.mosquitto.said("Client cli-1 already connected"); {
		quarrels = r.mosquitto.said("Client cli-1 already connected")
		if quarrels > 10 {
			r.Fatalf("the gateways took the client id from each other %d times", quarrels)
		}
		watcher.nothing(4 * time.Second)
	}
	r.publish("s/temp", "hi", 1)
	there.receive("s/temp", "hi", 1)
	there.alive()
	here.discard("02 18")
	here.ask("02 16", "02 18")
	watcher.nothing(moment)
}

func killAndGoOn(r *rig) {
	active, sleeper := subscribed(r, keepSession, 1), r.device("sleeper")
	sleeper.connect(cleanSession, minute)
	sleeper.subscribe("s/other", 2)
	sleeper.sleep(600)
	watcher := r.watch("s/up")
	active.register("s/up")
	r.leave("s/other", "for the sleeper", 2)
	r.gateway.kill()
	r.restartGateway()
	if r.setup == embedded {
		watcher, r.publisher = r.watch("s/up"), nil
	}
	active.tell("__ 0C 20 {s/up} 00 09 'still here'")
	for active.unread = active.read(fastRetry); active.unread == nil; active.unread = active.read(fastRetry) {
		active.tell("__ 0C A0 {s/up} 00 09 'still here'") // it was not connected to the broker yet
	}
	active.expect("07 0D {s/up} 00 09 00")
	watcher.expect("s/up", "still here", 1)
	sleeper.tell(sleeper.wakeFrame())
	sleeper.receive("s/other", "for the sleeper", 2)
	sleeper.expect("02 17")
	r.publish("s/temp", "after", 1)
	active.receive("s/temp", "after", 1)
}
