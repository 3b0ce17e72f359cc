package store

import (
	"errors"
	"slices"
	"testing"
)

func TestMemory(t *testing.T) {
	m := NewMemory()
	mark := m.Apply(Put(SessionTopic, "b", 2, []byte("b2")), Put(SessionTopic, "b", 1, []byte("b1")), Put(SessionTopic, "a", 9, nil))
	if m.Durable() < mark {
		t.Errorf("durable up to %d after mark %d", m.Durable(), mark)
	}
	var order []string
	err := m.All(SessionTopic, func(k Key, v []byte) error {
		order = append(order, k.Client+string(v))
		return nil
	})
	if want := []string{"a", "bb1", "bb2"}; err != nil || !slices.Equal(order, want) {
		t.Errorf("all: %v, %v; want %v", order, err, want)
	}
	m.Apply(Delete(SessionTopic, "b", 1), Delete(SessionTopic, "b", 1))
	if _, err := m.Read(Key{SessionTopic, "b", 1}, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted record: %v", err)
	}
	if v, err := m.Read(Key{SessionTopic, "b", 2}, []byte("x")); string(v) != "xb2" || err != nil {
		t.Errorf("read %q, %v", v, err)
	}
}

func TestMemoryCrash(t *testing.T) {
	m := NewMemory()
	told := 0
	m.Notify(func() { told++ })
	m.Apply(Put(MQTTSession, "c", 0, []byte("old")))
	m.Hold()
	mark := m.Apply(Put(MQTTSession, "c", 0, []byte("new")))
	if m.Durable() >= mark || told != 0 {
		t.Error("durable before Commit")
	}
	for _, want := range []string{"old", "new"} {
		if v, _ := m.Crash().Read(Key{MQTTSession, "c", 0}, nil); string(v) != want {
			t.Errorf("after a crash: %q, want %q", v, want)
		}
		m.Commit()
	}
	if m.Durable() < mark || told != 2 {
		t.Errorf("durable up to %d, want %d; told %d times, want 2", m.Durable(), mark, told)
	}
}
