package embedded

import (
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// sys publishes what the broker tells about itself, under Mosquitto's names. It costs
// nothing while nobody subscribes to it.
type sys struct {
	broker  *Broker
	version string

	mu   sync.Mutex
	last map[string]string // what was published last, by topic
}

// sysTopics is how many there are at most.
const sysTopics = 20

func (y *sys) init(b *Broker) {
	y.broker, y.version = b, "mqttsn-gateway"
	y.last = make(map[string]string)
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		y.version += " version " + info.Main.Version
	}
}

// values calls f with every topic and its present value.
func (y *sys) values(f func(topic, value string)) {
	st := y.broker.Stats()
	number := func(topic string, n uint64) { f("$SYS/broker/"+topic, strconv.FormatUint(n, 10)) }
	total := func(n [3]uint64) uint64 { return n[0] + n[1] + n[2] }
	var dropped uint64
	for _, n := range st.Dropped {
		dropped += n
	}
	connected := uint64(st.Connections + st.Devices)
	f("$SYS/broker/version", y.version)
	f("$SYS/broker/uptime", strconv.Itoa(int(y.broker.now()/time.Second))+" seconds")
	number("clients/connected", connected)
	number("clients/total", uint64(st.Sessions))
	number("clients/disconnected", uint64(max(st.Sessions-st.Connections-st.Devices, 0)))
	number("messages/received", st.PacketsReceived)
	number("messages/sent", st.PacketsSent)
	number("publish/messages/received", total(st.Received))
	number("publish/messages/sent", total(st.Sent))
	number("publish/messages/dropped", dropped)
	number("retained messages/count", uint64(st.RetainedMessages))
	number("subscriptions/count", uint64(st.Subscriptions))
}

// match lists the present values of the topics that a filter stands for, as retained
// messages.
func (y *sys) match(filter string) (found []*message) {
	if y.broker.options.SysInterval == 0 {
		return nil
	}
	y.values(func(topic, value string) {
		if mqtt.Match(filter, topic) {
			found = append(found, &message{Message: broker.Message{Topic: topic, Payload: []byte(value), Retain: true}})
		}
	})
	return found
}

// publish tells the subscribers what has changed since it was told last.
func (y *sys) publish() {
	b := y.broker
	if _, _, subscriptions := b.topics.stats(); subscriptions == 0 {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.values(func(topic, value string) {
		if y.last[topic] == value {
			return
		}
		y.last[topic] = value
		p := newPublication()
		p.Topic, p.Payload, p.Retain = topic, []byte(value), true
		b.fanOut(p, b.topics.routeOwn(topic))
		p.release()
	})
}
