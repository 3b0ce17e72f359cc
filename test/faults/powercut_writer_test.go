package faults

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/gateway/store/disk"
)

// TestPowerCutWriter is no test but the process that a power cut hits: the tests of power
// cuts start it, with the directory of the store in the environment. It says what it has
// found there, then it writes numbered batches and says which are durable, for ever.
//
// POWERCUT_WRITER is "honest", "hasty" to say so before it is true, or "reader" to end
// after what was found.
func TestPowerCutWriter(t *testing.T) {
	mode := os.Getenv("POWERCUT_WRITER")
	if mode == "" {
		return
	}
	o := disk.DefaultOptions()
	o.Dir, o.SegmentSize, o.SyncInterval = os.Getenv("POWERCUT_DIR"), 64<<10, time.Millisecond
	s, err := disk.Open(o, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println("cannot start:", err)
		return
	}
	n, err := foundBatches(s)
	if err != nil {
		fmt.Println("wrong:", err)
		return
	}
	fmt.Println("found", n)
	if mode == "reader" {
		if err := s.Close(); err != nil {
			fmt.Println("cannot close:", err)
		}
		return
	}
	w := &batchWriter{store: s, wake: make(chan struct{}, 1)}
	s.Notify(w.notify)
	for {
		n++
		w.write(n, mode == "hasty")
	}
}

const (
	keptMessages = 50 // so many messages of the latest batches exist
	keptTopics   = 97 // each batch replaces the oldest one of so many
)

// batchOf is batch number n: a message, that of an old batch deleted, and a replacement.
func batchOf(n uint64) []store.Op {
	ops := []store.Op{
		store.Put(store.MQTTSession, "counter", 0, binary.AppendUvarint(nil, n)),
		store.Put(store.MQTTMessage, "", n, bodyOf(n)),
		store.Put(store.MQTTRetained, fmt.Sprint(n%keptTopics), 0, binary.AppendUvarint(nil, n)),
	}
	if n > keptMessages {
		ops = append(ops, store.Delete(store.MQTTMessage, "", n-keptMessages))
	}
	return ops
}

func bodyOf(n uint64) []byte {
	return bytes.Repeat(binary.BigEndian.AppendUint64(nil, n), int(n*7919%120))
}

// foundBatches says how many batches are in a store: all of the first n, and nothing else.
func foundBatches(s store.Store) (uint64, error) {
	number := func(v []byte) uint64 { n, _ := binary.Uvarint(v); return n }
	value, _ := s.Read(store.Key{Space: store.MQTTSession, Client: "counter"}, nil)
	n := number(value)
	messages, topics := uint64(0), uint64(0)
	err := s.All(store.MQTTMessage, func(k store.Key, v []byte) error {
		messages++
		if k.Number > n || k.Number+keptMessages <= n || !bytes.Equal(v, bodyOf(k.Number)) {
			return fmt.Errorf("after %d batches message %d of %d octets is there", n, k.Number, len(v))
		}
		return nil
	})
	if err != nil {
		return n, err
	}
	err = s.All(store.MQTTRetained, func(k store.Key, v []byte) error {
		topics++
		if m := number(v); m > n || m+keptTopics <= n || fmt.Sprint(m%keptTopics) != k.Client {
			return fmt.Errorf("after %d batches topic %s has number %d", n, k.Client, m)
		}
		return nil
	})
	if err == nil && (messages != min(n, keptMessages) || topics != min(n, keptTopics)) {
		err = fmt.Errorf("after %d batches there are %d messages and %d topics", n, messages, topics)
	}
	return n, err
}

// batchWriter gives batches to a store, some of them ahead of what is durable.
type batchWriter struct {
	store store.Store
	wake  chan struct{}

	mu      sync.Mutex
	waiting []waitingBatch
}

type waitingBatch struct {
	mark   store.Mark
	number uint64
}

func (w *batchWriter) write(n uint64, hasty bool) {
	w.mu.Lock()
	w.waiting = append(w.waiting, waitingBatch{w.store.Apply(batchOf(n)...), n})
	w.mu.Unlock()
	if hasty {
		fmt.Println("durable", n)
	}
	for {
		w.mu.Lock()
		ahead := len(w.waiting)
		w.mu.Unlock()
		if ahead < int(1+n%64) {
			return
		}
		<-w.wake
	}
}

func (w *batchWriter) notify() {
	durable := w.store.Durable()
	w.mu.Lock()
	last := uint64(0)
	for len(w.waiting) > 0 && w.waiting[0].mark <= durable {
		last = w.waiting[0].number
		w.waiting = w.waiting[1:]
	}
	w.mu.Unlock()
	if last > 0 {
		fmt.Println("durable", last)
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// cutLedger is what is known from the lines of writers.
type cutLedger struct {
	durable uint64 // the last batch that was said to be durable
	said    uint64 // so many were
	lost    uint64
	starts  int
	faults  []string // what may not happen
}

// line takes down one line, and says whether the writer has started. Without power it cannot.
func (l *cutLedger) line(text string, dark bool) (started bool) {
	var n uint64
	switch verb, rest, _ := strings.Cut(text, " "); verb {
	case "found":
		fmt.Sscan(rest, &n)
		if n < l.durable {
			l.lost += l.durable - n
			l.faults = append(l.faults, fmt.Sprintf("start %d found %d batches, and %d were said to be durable", l.starts+1, n, l.durable))
		}
		l.durable = n
		l.starts++
		return true
	case "durable":
		fmt.Sscan(rest, &n)
		if n > l.durable {
			l.said += n - l.durable
			l.durable = n
		}
	case "wrong:", "cannot":
		if dark {
			return false
		}
		l.faults = append(l.faults, text)
	}
	return false
}
