package session

import (
	"fmt"

	"mqttsn-gateway/mqttsn"
)

// PredefinedTopic is one topic id that clients and gateway know beforehand [SN-6.7].
type PredefinedTopic struct {
	// ID is the topic id, 1 to 65534.
	ID uint16 `mapstructure:"id"`
	// Topic is the topic name, without wildcards.
	Topic string `mapstructure:"topic"`
	// Client is the ClientID that the id is valid for; empty for all clients. An entry
	// of a client's own comes before one for all.
	Client string `mapstructure:"client"`
}

// Predefined is a table of predefined topics. A nil one is empty. It is not changed
// after it was made.
type Predefined struct {
	names map[predefinedID]string
	ids   map[predefinedName]uint16
}

type predefinedID struct {
	client string
	id     uint16
}

type predefinedName struct {
	client, name string
}

// NewPredefined makes a table. The error names the entry that is invalid or gives an id
// a second time for the same client.
func NewPredefined(topics []PredefinedTopic) (*Predefined, error) {
	p := &Predefined{
		names: make(map[predefinedID]string, len(topics)),
		ids:   make(map[predefinedName]uint16, len(topics)),
	}
	for i, t := range topics {
		byID := predefinedID{t.Client, t.ID}
		byName := predefinedName{t.Client, t.Topic}
		switch other, twice := p.names[byID]; {
		case t.ID == 0 || t.ID > maxTopicID:
			return nil, fmt.Errorf("entry %d (%q): id %d is out of range: 1 to %d", i+1, t.Topic, t.ID, maxTopicID)
		case !mqttsn.ValidTopicName([]byte(t.Topic)):
			return nil, fmt.Errorf("entry %d (id %d): topic %q is not a topic name: UTF-8 without wildcards", i+1, t.ID, t.Topic)
		case twice:
			return nil, fmt.Errorf("entry %d: id %d is already that of %q for the same client", i+1, t.ID, other)
		}
		p.names[byID] = t.Topic
		if _, twice := p.ids[byName]; !twice {
			p.ids[byName] = t.ID
		}
	}
	return p, nil
}

// Name is the topic name of an id for a client; with client "" only what is valid for
// all clients.
func (p *Predefined) Name(client string, id uint16) (name string, ok bool) {
	if p == nil {
		return "", false
	}
	if name, ok = p.names[predefinedID{client, id}]; !ok && client != "" {
		name, ok = p.names[predefinedID{"", id}]
	}
	return name, ok
}

// ID is the id of a topic name for a client; with client "" only what is valid for all
// clients.
func (p *Predefined) ID(client, name string) (id uint16, ok bool) {
	if p == nil {
		return 0, false
	}
	if id, ok = p.ids[predefinedName{client, name}]; ok || client == "" {
		return id, ok
	}
	id, ok = p.ids[predefinedName{"", name}]
	if _, hidden := p.names[predefinedID{client, id}]; hidden {
		return 0, false // the client uses that number for something else
	}
	return id, ok
}
