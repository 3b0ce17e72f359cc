package embedded

import (
	"bytes"
	"sync"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// message is an application message. One that somebody keeps is shared by all who do,
// devices included: nobody changes it.
type message struct {
	broker.Message
	// from is the client id of the publisher; empty for the broker's own.
	from string
	// properties are those that pass from publisher to subscriber, nil for none. Expiry,
	// topic alias and subscription identifiers are not among them.
	properties *mqtt.PublishProperties
	// expires is the instant at which the message is worth nothing any more, in the
	// broker's time; 0: never.
	expires time.Duration
	stored  uint64  // its number among the retained ones, see retained.last; 0: it is none
	weight  int32   // what the properties count against limits, see weigh
	holders int32   // how many queues it is in, see hold
	shared  *shared // as a record, and for who asks later; nil for none
}

// size is what a message counts against limits in octets.
func (m *message) size() int { return len(m.Topic) + len(m.Payload) + int(m.weight) }

// expireAt sets the instant at which the message is worth nothing any more, in the
// broker's time.
func (m *message) expireAt(b *Broker, at time.Duration) {
	m.expires = at
	m.Expires = b.start.Add(at)
}

// publication is a message on its way through the broker. What it refers to is borrowed
// from whoever publishes; to keep it, there is keep.
type publication struct {
	message
	kept *message
	// origin is kept with the message if it is retained.
	origin *origin
	// many says that there is more than one receiver, and frames is the packet for them
	// once it was made: for clients of versions before MQTT 5, and for others.
	many   bool
	frames [2][]byte
	// steady says that the properties never change, so that a copy is not needed.
	steady bool
	// refuse says that the publisher understands a refusal.
	refuse bool
	// records is what is to be durable together with the message; nil for nothing. mark is
	// where it is, after publish; 0 if there was nothing.
	records  *records
	mark     store.Mark
	retained bool // it has become the retained message of its topic
	alone    bool // there is one receiver at most
	accepted bool // long ago: it is taken however full the store is
	// safe makes durable what keeps the message in queues, instead of the store; nil for none.
	safe func([]store.Op) store.Mark
	// tally is what was not counted yet of where it went.
	tally tally
}

var publications = sync.Pool{New: func() any { return new(publication) }}

func newPublication() *publication { return publications.Get().(*publication) }

func (p *publication) release() {
	if p.records != nil {
		p.records.release()
	}
	frames := p.frames
	for i, f := range frames {
		if frames[i] = f[:0]; cap(f) > keepBuffer {
			frames[i] = nil
		}
	}
	*p = publication{frames: frames}
	publications.Put(p)
}

// carry makes the publication one of a kept message.
func (p *publication) carry(m *message) {
	p.Message, p.from, p.origin, p.properties, p.expires, p.weight = m.Message, m.from, m.origin(), m.properties, m.expires, m.weight
	p.kept = m
}

// with adds changes that are to be durable together with the message.
func (p *publication) with(ops ...store.Op) {
	if p.records == nil {
		p.records = gathered.Get().(*records)
	}
	p.records.add(ops)
}

// keep returns the message for keeping. All who keep it get the same copy.
func (p *publication) keep() *message {
	if p.kept == nil {
		m := p.message
		m.Payload = bytes.Clone(p.Payload)
		if !p.steady {
			m.properties = cloneProperties(p.properties)
		}
		p.kept = &m
	}
	return p.kept
}

// passedOn returns the properties that go on to subscribers, nil for none. It changes p.
func passedOn(p *mqtt.PublishProperties) *mqtt.PublishProperties {
	p.MessageExpiry = mqtt.Optional[uint32]{}
	p.TopicAlias = 0
	p.SubscriptionIDs = nil
	if !p.PayloadFormat.Set && p.ResponseTopic == nil && p.CorrelationData == nil && p.ContentType == nil && len(p.User) == 0 {
		return nil
	}
	return p
}

func cloneProperties(p *mqtt.PublishProperties) *mqtt.PublishProperties {
	if p == nil {
		return nil
	}
	n := len(p.ResponseTopic) + len(p.CorrelationData) + len(p.ContentType)
	for i := range p.User {
		n += len(p.User[i].Name) + len(p.User[i].Value)
	}
	all := make([]byte, 0, n) // one piece of memory for all values
	clone := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		at := len(all)
		all = append(all, b...)
		return all[at:len(all):len(all)]
	}
	c := &mqtt.PublishProperties{
		PayloadFormat:   p.PayloadFormat,
		ResponseTopic:   clone(p.ResponseTopic),
		CorrelationData: clone(p.CorrelationData),
		ContentType:     clone(p.ContentType),
	}
	if len(p.User) > 0 {
		c.User = make([]mqtt.UserProperty, len(p.User))
	}
	for i, u := range p.User {
		c.User[i] = mqtt.UserProperty{Name: clone(u.Name), Value: clone(u.Value)}
	}
	return c
}
