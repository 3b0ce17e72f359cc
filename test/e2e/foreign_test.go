package e2e

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The clients that people have: mosquitto_pub and mosquitto_sub, paho-mqtt in Python and
// MQTT.js, each in all versions of MQTT, and MQTT-SN devices. A test has some of each at
// one gateway and treats them alike, as peers.

// kind is one sort of client.
type kind struct {
	name string
	// version is the protocol level of CONNECT, 0 for devices.
	version int
	dial    func(f *fair, k kind, id string, h greeting) peer
}

var kinds = []kind{
	{"mosquitto-3.1", 3, dialMosquittoClients},
	{"mosquitto-3.1.1", 4, dialMosquittoClients},
	{"mosquitto-5", 5, dialMosquittoClients},
	{"paho-3.1", 3, dialPaho},
	{"paho-3.1.1", 4, dialPaho},
	{"paho-5", 5, dialPaho},
	{"mqttjs-3.1", 3, dialMQTTjs},
	{"mqttjs-3.1.1", 4, dialMQTTjs},
	{"mqttjs-5", 5, dialMQTTjs},
	{"device", 0, dialDevice},
}

// shortName is that of the library.
func (k kind) shortName() string {
	name, _, _ := strings.Cut(k.name, "-")
	return name
}

// peer is a client of any kind. What goes wrong ends the test.
type peer interface {
	// subscribe returns when the broker has granted what was asked for.
	subscribe(filter string, qos byte)
	// publish has the client send the messages; settle waits until the broker has taken
	// them, or until they have left if the QoS is 0.
	publish(o outgoing)
	settle()
	// leave ends the connection with DISCONNECT, die without a word.
	leave()
	die()
	// rejoin connects and subscribes again, to the session of before.
	rejoin()
	// inbox has what the client received.
	inbox() *inbox
}

// greeting is how a client connects.
type greeting struct {
	// keep asks for a session that outlives the connection.
	keep bool
	will *testament
	// aliases lets the client use topic aliases, and take as many.
	aliases int
}

type testament struct {
	Topic      string      `json:"topic"`
	Payload    string      `json:"payload"`
	QoS        byte        `json:"qos"`
	Retain     bool        `json:"retain"`
	Properties *properties `json:"properties,omitempty"`
}

// outgoing are messages that a client publishes one after the other.
type outgoing struct {
	topic      string
	payloads   []string
	qos        byte
	retain     bool
	properties *properties
}

// arrival is a message that a client received.
type arrival struct {
	message
	properties properties
}

// properties are those of MQTT 5 that the tests use, in the words of the helper programs.
// They are those of PUBLISH and of the will unless noted.
type properties struct {
	ContentType            string              `json:"contentType,omitempty"`
	ResponseTopic          string              `json:"responseTopic,omitempty"`
	CorrelationData        string              `json:"correlationData,omitempty"`
	UserProperties         map[string][]string `json:"userProperties,omitempty"`
	PayloadFormatIndicator bool                `json:"payloadFormatIndicator,omitempty"`
	// MessageExpiryInterval is in seconds.
	MessageExpiryInterval int `json:"messageExpiryInterval,omitempty"`
	// TopicAlias is that of a PUBLISH received.
	TopicAlias             int `json:"topicAlias,omitempty"`
	SubscriptionIdentifier int `json:"subscriptionIdentifier,omitempty"`
	// SessionExpiryInterval in seconds and TopicAliasMaximum are those of CONNECT and CONNACK.
	SessionExpiryInterval int `json:"sessionExpiryInterval,omitempty"`
	TopicAliasMaximum     int `json:"topicAliasMaximum,omitempty"`
}

// fair is a gateway where clients of all kinds meet.
type fair struct {
	*rig
	port int
	// libraries are the helper programs that run, by their names.
	libraries map[string]*library
}

func newFair(t *testing.T, settings ...setting) *fair {
	t.Helper()
	f := &fair{rig: newRig(t, embedded, settings...), libraries: map[string]*library{}}
	_, port, err := net.SplitHostPort(f.gateway.mqtt)
	if err == nil {
		f.port, err = strconv.Atoi(port)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// join connects a client of the kind.
func (f *fair) join(k kind, id string, h greeting) peer {
	f.Helper()
	return k.dial(f, k, id, h)
}

// joinEach connects one client of each kind, with the kind in its name.
func (f *fair) joinEach(kinds []kind, prefix string, greeting func(kind) greeting) []peer {
	f.Helper()
	var peers []peer
	for _, k := range kinds {
		peers = append(peers, f.join(k, prefix+k.name, greeting(k)))
	}
	return peers
}

func plainly(kind) greeting { return greeting{} }

// subscribeAll has each of them subscribe.
func subscribeAll(peers []peer, filter string, qos byte) {
	for _, p := range peers {
		p.subscribe(filter, qos)
	}
}

// tool finds a program of the machine. There is none that a test can do without.
func tool(t testing.TB, name, whence string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing, which comes with %s: ./test/run installs what the tests need (%v)", name, whence, err)
	}
	return path
}

// inbox is what a client has received and the test has not yet seen. Safe for concurrent use.
type inbox struct {
	owner string
	mu    sync.Mutex
	list  []arrival
	more  chan struct{}
}

func newInbox(owner string) *inbox { return &inbox{owner: owner, more: make(chan struct{}, 1)} }

func (i *inbox) put(a arrival) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.list = append(i.list, a)
	select {
	case i.more <- struct{}{}:
	default:
	}
}

var errNothing = errors.New("nothing more came")

// next waits for the next message.
func (i *inbox) next() (arrival, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		i.mu.Lock()
		if len(i.list) > 0 {
			first := i.list[0]
			i.list = i.list[1:]
			i.mu.Unlock()
			return first, nil
		}
		i.mu.Unlock()
		select {
		case <-i.more:
		case <-timer.C:
			return arrival{}, fmt.Errorf("%s: %w", i.owner, errNothing)
		}
	}
}

// expect is the next message, which has to be the one described.
func (i *inbox) expect(t testing.TB, want message) arrival {
	t.Helper()
	got, err := i.next()
	if err != nil {
		t.Fatalf("%v, want %v", err, want)
	}
	if got.topic != want.topic || got.payload != want.payload || got.qos != want.qos || got.retain != want.retain {
		t.Fatalf("%s got %v, want %v", i.owner, got.message, want)
	}
	return got
}

// expectAny are the next messages, in any order; it returns them by topic.
func (i *inbox) expectAny(t testing.TB, wanted ...message) map[string]arrival {
	t.Helper()
	all := map[string]arrival{}
	for len(wanted) > 0 {
		got, err := i.next()
		if err != nil {
			t.Fatalf("%v, want %v", err, wanted)
		}
		at := slices.IndexFunc(wanted, func(want message) bool {
			return got.topic == want.topic && got.payload == want.payload && got.qos == want.qos && got.retain == want.retain
		})
		if at < 0 {
			t.Fatalf("%s got %v, want one of %v", i.owner, got.message, wanted)
		}
		wanted = slices.Delete(slices.Clone(wanted), at, at+1)
		all[got.topic] = got
	}
	return all
}
