package embedded

import (
	"bytes"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// aliasesIn are the topic aliases that a client has set on its connection; they end with
// it [MQTT-3.3.2-7]. Memory is taken for those that are used only.
type aliasesIn struct {
	topics map[uint16][]byte
	size   int // octets of the topics
}

// resolve sees to a PUBLISH having its topic, if need be by its topic alias, which it
// sets if both are there. It reports false if the connection ends for that.
func (c *client) resolve(p *mqtt.Publish) bool {
	alias := p.Properties.TopicAlias
	if alias == 0 {
		return true
	}
	a, o := &c.aliasesIn, &c.broker.options
	if int(alias) > o.MaxTopicAlias {
		c.fail(codeTopicAlias, "topic alias", "is above the topic alias maximum") // [MQTT-3.3.2-9]
		return false
	}
	known := a.topics[alias] // any up to the maximum is taken [MQTT-3.3.2-12]
	switch {
	case len(p.Topic) == 0 && known == nil:
		c.fail(codeProtocolError, "topic alias", "was not set") // [MQTT 5, 3.3.2.3.4]
		return false
	case len(p.Topic) == 0:
		p.Topic = known
		return true
	case bytes.Equal(p.Topic, known):
		return true
	}
	if !c.keepAlias(&a.size, len(p.Topic)-len(known)) {
		c.fail(broker.CodeQuota, "topic alias", "the topics of all are longer than max_queued_bytes or max_session_bytes_total")
		return false
	}
	if a.topics == nil {
		a.topics = make(map[uint16][]byte)
	}
	a.topics[alias] = bytes.Clone(p.Topic) // not over the last one, which may be much longer
	return true
}

// aliasesOut are the topic aliases that a client is sent: the first topics that come get
// one, and keep it. A client that gets more topics than it takes aliases has the rest in
// full; to change what an alias stands for costs as much as to send the topic.
type aliasesOut struct {
	byTopic map[string]uint16
	size    int // octets of the topics
}

// shortTopic is how long a topic may be for an alias, of three octets, to save nothing.
const shortTopic = 3

// alias puts the alias of a topic into a PUBLISH, in place of the topic if the client
// knows it. Otherwise it reports that the alias is new: when the packet is sent, set is to
// be called. The caller holds the session's lock, and the output is open.
func (c *client) alias(p *mqtt.Publish, topic string) (fresh bool) {
	if c.maxAlias == 0 || len(topic) <= shortTopic {
		return false
	}
	a := &c.aliasesOut
	if n := a.byTopic[topic]; n != 0 {
		p.Topic, p.Properties.TopicAlias = nil, n
		return false
	}
	if c.out.holding {
		return false // others may overtake it that would have the alias alone
	}
	if len(a.byTopic) >= int(c.maxAlias) || a.size+len(topic) > c.broker.options.MaxQueuedBytes || !c.broker.mayKeep(len(topic)) {
		return false
	}
	p.Properties.TopicAlias = uint16(len(a.byTopic) + 1)
	return true
}

// set notes that the client knows the next alias.
func (a *aliasesOut) set(topic string) {
	if a.byTopic == nil {
		a.byTopic = make(map[string]uint16)
	}
	a.byTopic[topic] = uint16(len(a.byTopic) + 1)
	a.size += len(topic)
}
