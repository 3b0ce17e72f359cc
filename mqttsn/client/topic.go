package client

import (
	"errors"
	"strconv"

	"mqttsn-gateway/mqttsn"
)

// Topic says what a message is published to or a subscription is for, in one of the
// forms of the specification. Use Named, Registered, Predefined or Short to make one.
type Topic struct {
	Type mqttsn.TopicIDType
	ID   uint16
	Name string // of a named topic
}

// Named is a topic by its full name, for Subscribe also a filter. Publish registers the
// name when it has no topic id for it.
func Named(name string) Topic { return Topic{Type: mqttsn.TopicNormal, Name: name} }

// Registered is a topic by the id that Register has returned. It is for Publish.
func Registered(id uint16) Topic { return Topic{Type: mqttsn.TopicNormal, ID: id} }

// Predefined is a topic by an id that gateway and client know beforehand.
func Predefined(id uint16) Topic { return Topic{Type: mqttsn.TopicPredefined, ID: id} }

// Short is a topic whose name has two octets and needs no topic id. A name of another
// length gives a topic that every call refuses.
func Short(name string) Topic {
	id, ok := mqttsn.ShortTopic(name)
	if !ok {
		return Topic{Type: mqttsn.TopicReserved, Name: name}
	}
	return Topic{Type: mqttsn.TopicShort, ID: id}
}

// String is the topic for messages to people.
func (t Topic) String() string {
	switch {
	case t.Name != "":
		return t.Name
	case t.Type == mqttsn.TopicShort:
		name := mqttsn.ShortTopicName(t.ID)
		return string(name[:])
	default:
		return t.Type.String() + " topic ID " + strconv.Itoa(int(t.ID))
	}
}

var errTopic = errors.New("topic has no name, no topic ID, or a short name without two octets")

// check finds topics that cannot be put into a packet.
func (t Topic) check() error {
	switch {
	case t.Type == mqttsn.TopicReserved:
		return errTopic
	case t.Type == mqttsn.TopicNormal && t.Name == "" && t.ID == 0:
		return errTopic
	}
	return nil
}

// topicTable maps normal topic ids to names and back, for one session.
type topicTable struct {
	names map[uint16]string
	ids   map[string]uint16
}

func (t *topicTable) clear() {
	t.names = make(map[uint16]string)
	t.ids = make(map[string]uint16)
}

// learn ties id to name. It reports false if the table is full or the id reserved.
func (t *topicTable) learn(id uint16, name string, limit int) bool {
	if id == 0x0000 || id == 0xFFFF { // [SN-5.3.11]
		return false
	}
	old, known := t.names[id]
	if !known && len(t.names) >= limit {
		return false
	}
	if known && t.ids[old] == id {
		delete(t.ids, old)
	}
	t.names[id], t.ids[name] = name, id
	return true
}

// forget removes an id.
func (t *topicTable) forget(id uint16) {
	name, known := t.names[id]
	if known && t.ids[name] == id {
		delete(t.ids, name)
	}
	delete(t.names, id)
}
