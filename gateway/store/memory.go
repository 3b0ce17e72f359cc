package store

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"
)

// Memory is a Store that a crash leaves nothing of: for a gateway without a state
// directory, and for tests. Everything is durable as soon as it is applied, unless a test
// says otherwise with Hold.
type Memory struct {
	mu       sync.Mutex
	records  map[Key][]byte
	safe     map[Key][]byte // what a crash leaves, while holding
	holding  bool
	applied  Mark
	durable  Mark
	level    Level
	notified []func()
}

// NewMemory makes an empty store.
func NewMemory() *Memory {
	return &Memory{records: make(map[Key][]byte)}
}

// Apply takes changes: Store.
func (m *Memory) Apply(ops ...Op) Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, op := range ops {
		if op.Value == nil {
			delete(m.records, op.Key)
		} else {
			m.records[op.Key] = append([]byte{}, op.Value...)
		}
	}
	m.applied++
	if !m.holding {
		m.durable = m.applied
	}
	return m.applied
}

// Durable is the mark up to which all is durable: Store.
func (m *Memory) Durable() Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.durable
}

// Notify has fn called by Commit and SetLevel: Store.
func (m *Memory) Notify(fn func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notified = append(m.notified, fn)
}

// Level is Normal, or what SetLevel has said: Store.
func (m *Memory) Level() Level {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.level
}

// Read appends the value of a record to b: Store.
func (m *Memory) Read(k Key, b []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.records[k]
	if !ok {
		return b, ErrNotFound
	}
	return append(b, v...), nil
}

// All calls fn for each record of a space: Store.
func (m *Memory) All(s Space, fn func(k Key, value []byte) error) error {
	m.mu.Lock()
	var keys []Key
	for k := range m.records {
		if k.Space == s {
			keys = append(keys, k)
		}
	}
	m.mu.Unlock()
	slices.SortFunc(keys, CompareKeys)
	for _, k := range keys {
		v, err := m.Read(k, nil)
		if err != nil {
			continue // deleted meanwhile
		}
		if err := fn(k, v); err != nil {
			return err
		}
	}
	return nil
}

// Close does nothing: Store.
func (m *Memory) Close() error { return nil }

// CompareKeys orders keys by space, client and number.
func CompareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Space, b.Space), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Number, b.Number))
}

// Hold makes what is applied from now on durable with the next Commit only, for tests.
func (m *Memory) Hold() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holding = true
	m.safe = m.snapshot()
}

// Commit makes all durable that was applied while holding, and tells those who asked.
func (m *Memory) Commit() {
	m.mu.Lock()
	m.durable = m.applied
	m.safe = m.snapshot()
	tell := slices.Clone(m.notified)
	m.mu.Unlock()
	for _, fn := range tell {
		fn()
	}
}

// SetLevel sets the level, and tells those who asked, for tests.
func (m *Memory) SetLevel(l Level) {
	m.mu.Lock()
	m.level = l
	tell := slices.Clone(m.notified)
	m.mu.Unlock()
	for _, fn := range tell {
		fn()
	}
}

// Crash returns a store with what would be left of this one after a crash, for tests. It
// holds if this one does, and has another order of marks.
func (m *Memory) Crash() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMemory()
	after.holding = m.holding
	if m.holding {
		after.records, after.safe = maps.Clone(m.safe), maps.Clone(m.safe)
	} else {
		after.records = m.snapshot()
	}
	return after
}

// Records is a copy of all records that were applied, for tests.
func (m *Memory) Records() map[Key][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.snapshot()
}

func (m *Memory) snapshot() map[Key][]byte {
	s := make(map[Key][]byte, len(m.records))
	for k, v := range m.records {
		s[k] = bytes.Clone(v)
	}
	return s
}
