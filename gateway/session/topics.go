package session

import "slices"

// maxTopicID is the largest topic id; 0x0000 and 0xFFFF are reserved [SN-5.3.11].
const maxTopicID = 0xFFFE

// topic is a topic name that has a normal topic id.
type topic struct {
	name string
	used uint32 // the table's clock when it was last needed
	id   uint16
	is   topicIs
	kept topicIs // what its record says, with topicKept; 0 if it has none
}

// topicIs is what is known about a topic. The values stand in records.
type topicIs byte

const (
	// pinned: the client was given the id and may use it as long as the session lasts.
	pinned topicIs = 1 << iota
	// subscribed: the client subscribed to this very name.
	subscribed
	// confirmed: on this connection the client has shown or was told that it is id.
	confirmed
	// refused: on this connection the client rejected the name [SN-6.10].
	refused

	topicFlags = 1<<iota - 1
	// connectionFlags end with a CONNECT.
	connectionFlags = confirmed | refused
	// topicKept marks that there is a record.
	topicKept topicIs = 1 << 7
)

// topics is the table of normal topic ids of one client [SN-7.3]. Normal and predefined
// ids are separate name spaces.
type topics struct {
	list  []topic           // by id
	index map[string]uint16 // name to id, while there are many
	clock uint32
	last  uint16 // the id assigned last; a moving counter, so that stale ids stay unknown
	// evicted is the id whose topic has given way last.
	evicted uint16
}

// manyTopics is from where on a search by name uses an index.
const manyTopics = 16

// byID returns the topic with that id, nil if there is none. It is valid until the next
// topic is added.
func (ts *topics) byID(id uint16) *topic {
	if i, ok := ts.search(id); ok {
		return &ts.list[i]
	}
	return nil
}

// search returns where the topic with that id is, or would be.
func (ts *topics) search(id uint16) (i int, ok bool) {
	lo, hi := 0, len(ts.list)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if ts.list[mid].id < id {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(ts.list) && ts.list[lo].id == id
}

// byName returns the topic with that name, nil if there is none. It is valid until the
// next topic is added.
func (ts *topics) byName(name string) *topic {
	if ts.index != nil {
		id, ok := ts.index[name]
		if !ok {
			return nil
		}
		return ts.byID(id)
	}
	for i := range ts.list {
		if ts.list[i].name == name {
			return &ts.list[i]
		}
	}
	return nil
}

// use is byName for a topic that is needed now.
func (ts *topics) use(name string) *topic {
	t := ts.byName(name)
	if t != nil {
		ts.clock++
		t.used = ts.clock
	}
	return t
}

// add returns the topic with that name and gives it an id if it has none. If there are
// limit topics already, the one least recently used gives way unless it is pinned. nil
// means that there is no room.
func (ts *topics) add(name string, limit int) *topic {
	if t := ts.use(name); t != nil {
		return t
	}
	if len(ts.list) >= limit && !ts.evict() {
		return nil
	}
	ts.clock++
	return ts.insert(topic{name: name, id: ts.nextID(), used: ts.clock})
}

// insert puts a topic in its place.
func (ts *topics) insert(t topic) *topic {
	i, _ := ts.search(t.id)
	ts.list = slices.Insert(ts.list, i, t)
	if ts.index == nil && len(ts.list) > manyTopics {
		ts.index = make(map[string]uint16, 2*len(ts.list))
		for _, t := range ts.list {
			ts.index[t.name] = t.id
		}
	} else if ts.index != nil {
		ts.index[t.name] = t.id
	}
	return &ts.list[i]
}

// room reports whether add would find room.
func (ts *topics) room(limit int) bool {
	return len(ts.list) < limit || slices.ContainsFunc(ts.list, func(t topic) bool { return t.is&pinned == 0 })
}

// nextID returns an id that no topic has. An id is not given to another name before all
// others had their turn.
func (ts *topics) nextID() uint16 {
	for {
		ts.last++
		if ts.last == 0 || ts.last > maxTopicID {
			ts.last = 1
		}
		if _, taken := ts.search(ts.last); !taken {
			return ts.last
		}
	}
}

// evict removes the topic that was needed longest ago, if it is not pinned. Refused ones
// stay as long as there are others, since their names would be offered again.
func (ts *topics) evict() bool {
	victim := -1
	for i, t := range ts.list {
		if t.is&pinned != 0 {
			continue
		}
		if victim < 0 || t.is&refused < ts.list[victim].is&refused ||
			t.is&refused == ts.list[victim].is&refused && t.used < ts.list[victim].used {
			victim = i
		}
	}
	if victim < 0 {
		return false
	}
	ts.evicted = ts.list[victim].id
	delete(ts.index, ts.list[victim].name)
	ts.list = slices.Delete(ts.list, victim, victim+1)
	return true
}

// doubt forgets what the client knows: it may have restarted.
func (ts *topics) doubt() {
	for i := range ts.list {
		ts.list[i].is &^= connectionFlags
		ts.list[i].kept &^= connectionFlags
	}
}

// wipe forgets all topics. The ids go on from where they are, so that a client that
// still uses old ones is told so.
func (ts *topics) wipe() {
	*ts = topics{last: ts.last}
}
