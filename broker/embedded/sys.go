package embedded

import (
	"runtime/debug"
	"sync"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// sys publishes what the broker tells about itself below $SYS, under Mosquitto's names
// and with their meaning: see sysTable and loadTable for the topics.
//
// As with Mosquitto the values are retained: a new subscriber gets them at once. Then it
// gets those that have changed, each sys_interval. They come with QoS 0, where Mosquitto
// has QoS 2: no queue fills with old figures while a client is away.
//
// Devices are clients, and count below clients/, publish/ and load/connections. Nothing
// is encoded between them and the broker: what is below messages/, bytes/ and packet/
// and the sockets are those of MQTT connections alone.
//
// These topics of Mosquitto's are not there:
//
//   - connection/# (and bridge/#): there are no bridges. A gateway that has its broker
//     elsewhere has no $SYS of its own.
//   - log/#: the log goes to standard error. Mosquitto publishes it only if told so.
//   - messages/inflight: Mosquitto has it in its manual, but does not publish it.
//   - timestamp, changeset, "heap/current size" and other names that Mosquitto has given
//     up.
//
// Nothing is read, made or published for a topic that nobody subscribes to. Only the
// averages need a look at a few counters each interval, or they would not be true when
// somebody asks for them.
type sys struct {
	broker  *Broker
	version string

	mu    sync.Mutex
	last  map[string]string // what all subscribers of a topic were told last, as far as they were told the same
	loads loads
	heap  int // the largest that was seen
}

// sysTopics is how many there are.
const sysTopics = len(sysTable) + loadCount*len(loadSpans)

// sysRoot starts all topics.
const sysRoot = "$SYS/broker/"

func (y *sys) init(b *Broker) {
	y.broker, y.version = b, "mqttsn-gateway"
	y.last = make(map[string]string)
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		y.version += " version " + info.Main.Version
	}
}

// each calls f for every topic, with a function that returns its present value.
func (y *sys) each(f func(topic string, value func() string)) {
	r := &reading{sys: y}
	for i := range sysTable {
		v := &sysTable[i]
		f(sysRoot+v.topic, func() string { return v.value(r) })
	}
	for i := range loadTable {
		for k := range loadSpans {
			f(sysRoot+loadTable[i].topics[k], func() string { return y.loads.value(i, k) })
		}
	}
}

// match lists the present values of the topics that a filter stands for, as retained
// messages.
func (y *sys) match(filter string) (found []*message) {
	if y.broker.options.SysInterval == 0 {
		return nil
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.each(func(topic string, value func() string) {
		if !mqtt.Match(filter, topic) {
			return
		}
		now := value()
		if last, told := y.last[topic]; !told {
			y.last[topic] = now
		} else if last != now {
			delete(y.last, topic) // subscribers know different values: all are told the next
		}
		found = append(found, &message{Message: broker.Message{Topic: topic, Payload: []byte(now), Retain: true}})
	})
	return found
}

// publish is called each interval: it tells the subscribers what has changed since they
// were told last.
func (y *sys) publish() {
	b := y.broker
	y.mu.Lock()
	y.loads.sample(&b.stats, b.now())
	_, _, subscriptions := b.topics.stats()
	if subscriptions == 0 {
		clear(y.last)
		y.mu.Unlock()
		return
	}
	type news struct {
		route *route
		value string
	}
	var all []news
	y.each(func(topic string, value func() string) {
		r := b.topics.routeOwn(topic)
		if r.nobody() {
			delete(y.last, topic)
			return
		}
		if now := value(); y.last[topic] != now {
			y.last[topic] = now
			all = append(all, news{r, now})
		}
	})
	y.mu.Unlock() // those of sessions come before it
	for _, n := range all {
		p := newPublication()
		p.Topic, p.Payload, p.Retain = n.route.topic, []byte(n.value), true
		b.fanOut(p, n.route)
		p.release()
	}
}

// uptime is how long the broker has been there, in whole seconds.
func (y *sys) uptime() int { return int(y.broker.now() / time.Second) }
