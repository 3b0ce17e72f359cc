package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"testing/synctest"
	"time"

	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/gateway/store/disk"
	"mqttsn-gateway/gateway/store/simfs"
)

// opener opens the store that is tried: the real one, or one that is known to be wrong.
type opener func(*simfs.FS, disk.Options) (store.Store, error)

func openDisk(fs *simfs.FS, o disk.Options) (store.Store, error) {
	return openOn(fs, o)
}

func openOn(fs disk.FS, o disk.Options) (store.Store, error) {
	s, err := disk.OpenFS(fs, o, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err // not a nil *disk.Store in an interface
	}
	return s, nil
}

// smallOptions make segments that are soon full, and cleaned.
func smallOptions() disk.Options {
	o := disk.DefaultOptions()
	o.Dir, o.SegmentSize = "sim", 64<<10
	return o
}

// sim is a store on a simulated disk and what is known of it: the judge of all tests here.
// It runs in a synctest bubble. Its methods return what the store has done wrong.
type sim struct {
	open    opener
	options disk.Options
	fs      *simfs.FS
	store   store.Store // nil while it is closed
	pace    *rand.Rand

	mu      sync.Mutex   // apply is also called in the middle of an operation of fs
	random  *rand.Rand   // for batches
	quiet   bool         // nothing is applied in the middle of an operation
	history [][]store.Op // all batches that count, from the first one
	marks   []store.Mark // of those that this store was given: the last ones
	acked   int          // so many of them must not get lost
	told    store.Mark   // Durable at the last notification
	largest int          // octets of a value
}

func newSim(seed uint64, open opener) *sim {
	return &sim{
		open: open, options: smallOptions(), fs: simfs.New(seed),
		random: rand.New(rand.NewPCG(seed, 1)), pace: rand.New(rand.NewPCG(seed, 2)), largest: 600,
	}
}

// errWrong is the error of a store that breaks its word; other errors are those of the disk.
var errWrong = errors.New("wrong")

// errDamage says that the store reports damage, which no crash is.
var errDamage = fmt.Errorf("%w: damage is reported", errWrong)

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errWrong, fmt.Sprintf(format, args...))
}

// start opens the store and compares what is there with what must be there: all batches that
// were acknowledged, and of those after them the first ones. What it finds counts as
// acknowledged from then on, for whoever starts with it may tell others; unless the store
// says that the disk does not work.
func (s *sim) start() error {
	st, err := s.open(s.fs, s.options)
	if err != nil {
		if n := s.fs.OpenFiles(); n > 0 {
			return wrong("%d files are left open after %v", n, err)
		}
		return err
	}
	found, err := records(st)
	if err != nil {
		st.Close()
		return err
	}
	if r, ok := st.(interface{ Stats() disk.Stats }); ok && len(r.Stats().Damages) > 0 {
		st.Close()
		return fmt.Errorf("%w: %+v", errDamage, r.Stats().Damages)
	}
	acked := s.acked
	if err := s.judge(found); err != nil {
		st.Close()
		return err
	}
	if st.Level() == store.Degraded {
		s.acked = acked
	}
	s.mu.Lock()
	s.store, s.quiet, s.marks, s.told = st, false, nil, 0
	s.mu.Unlock()
	tell := func() {
		d := st.Durable()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.told = max(s.told, d)
	}
	st.Notify(tell)
	tell() // the store may have been quicker
	return nil
}

// records reads all there is.
func records(st store.Store) (map[store.Key][]byte, error) {
	found := make(map[store.Key][]byte)
	for space := range store.UpstreamDeadLetter + 1 {
		var last *store.Key
		err := st.All(space, func(k store.Key, v []byte) error {
			if last != nil && store.CompareKeys(*last, k) >= 0 {
				return wrong("%v comes after %v", k, *last)
			}
			last, found[k] = &k, bytes.Clone(v)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// judge finds out after which batch the store has stopped.
func (s *sim) judge(found map[store.Key][]byte) error {
	state := make(map[store.Key][]byte)
	at := -1
	for i := 0; ; i++ {
		if i >= s.acked && same(state, found) {
			at = i
		}
		if i == len(s.history) {
			break
		}
		play(state, s.history[i])
	}
	if at < 0 {
		n, _ := binary.Uvarint(found[counter])
		return wrong("the %d records are those after none of the batches %d to %d (the last one in them is %d)", len(found), s.acked, len(s.history), n)
	}
	s.history, s.acked = s.history[:at:at], at
	return nil
}

func play(state map[store.Key][]byte, batch []store.Op) {
	for _, op := range batch {
		if op.Value == nil {
			delete(state, op.Key)
		} else {
			state[op.Key] = op.Value
		}
	}
}

func same(a, b map[store.Key][]byte) bool { return maps.EqualFunc(a, b, bytes.Equal) }

// counter is the record in which most batches leave their number.
var counter = store.Key{Space: store.MQTTSession, Client: "counter"}

// batch makes changes of a few spaces: some records stay for ever, most change often.
func (s *sim) batch(number int) []store.Op {
	r := s.random
	var ops []store.Op
	for range r.IntN(5) {
		k := store.Key{Space: store.SessionState + store.Space(r.IntN(4)), Client: fmt.Sprintf("client-%d", r.IntN(2)), Number: uint64(r.IntN(4))}
		if r.IntN(6) == 0 {
			k = store.Key{Space: store.MQTTMessage, Number: uint64(number)<<32 | r.Uint64N(4)}
		}
		if r.IntN(3) == 0 {
			ops = append(ops, store.Op{Key: k})
			continue
		}
		v := make([]byte, r.IntN(s.largest))
		for i := range v {
			v[i] = byte(number + i)
		}
		ops = append(ops, store.Op{Key: k, Value: v})
	}
	// Messages are deleted again, most of them soon.
	if n := len(s.history); n > 0 {
		for _, op := range s.history[n-1-r.IntN(min(n, 20))] {
			if op.Key.Space == store.MQTTMessage && r.IntN(8) > 0 {
				ops = append(ops, store.Op{Key: op.Key})
			}
		}
	}
	if len(ops) == 0 || r.IntN(4) > 0 {
		ops = append(ops, store.Op{Key: counter, Value: binary.AppendUvarint(nil, uint64(number))})
	}
	return ops
}

// apply gives the store the next batch.
func (s *sim) apply() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applyLocked()
}

func (s *sim) applyLocked() {
	ops := s.batch(len(s.history) + 1)
	s.history = append(s.history, ops)
	given := make([]store.Op, len(ops))
	for i, op := range ops {
		given[i] = store.Op{Key: op.Key, Value: bytes.Clone(op.Value)}
	}
	s.marks = append(s.marks, s.store.Apply(given...))
	for _, op := range given {
		clear(op.Value) // the store has copied it
	}
}

// hush ends what applyMeanwhile does, or lets it go on.
func (s *sim) hush(quiet bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quiet = quiet
}

// note takes down what the store says is durable.
func (s *sim) note() {
	if s.store == nil {
		return
	}
	durable := s.store.Durable()
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.history) - len(s.marks)
	for i, m := range s.marks {
		if m <= durable {
			s.acked = max(s.acked, before+i+1)
		}
	}
}

// check looks whether the store has what was applied, durable or not, and whether marks and
// notifications are in order. Nothing may be going on.
func (s *sim) check() error {
	found, err := records(s.store)
	if err != nil {
		return err
	}
	state := make(map[store.Key][]byte)
	for _, b := range s.history {
		play(state, b)
	}
	if !same(state, found) {
		return wrong("the %d records are not the %d that were applied", len(found), len(state))
	}
	for k, v := range state {
		got, err := s.store.Read(k, []byte("x"))
		if err != nil || !bytes.Equal(got[1:], v) {
			return wrong("read %v: %v", k, err)
		}
		break // one of them, another one each time
	}
	for i := 1; i < len(s.marks); i++ {
		if s.marks[i] < s.marks[i-1] {
			return wrong("mark %d after mark %d", s.marks[i], s.marks[i-1])
		}
	}
	if d := s.store.Durable(); len(s.marks) > 0 && d >= s.marks[0] && s.told != d {
		return wrong("durable up to %d, and notified up to %d", d, s.told)
	}
	return nil
}

// play applies batches, in groups, and stops when the disk has.
func (s *sim) play(batches int) {
	r := s.pace
	for n := 0; n < batches && !s.fs.Stopped(); {
		for range 1 + r.IntN(3) {
			s.apply()
			n++
		}
		switch r.IntN(6) {
		case 0: // more at once
		case 1:
			time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
		case 2:
			synctest.Wait()
		default: // a commit
			time.Sleep(2 * s.options.SyncInterval)
			synctest.Wait()
		}
	}
	time.Sleep(50 * time.Millisecond)
	synctest.Wait()
	s.note()
}

// settle waits until all is durable that was applied, as a disk allows that works.
func (s *sim) settle() error {
	s.hush(true)
	defer s.hush(false)
	last := store.Mark(0)
	if n := len(s.marks); n > 0 {
		last = s.marks[n-1]
	}
	for range 600 {
		synctest.Wait()
		if s.store.Durable() >= last && s.store.Level() < store.Degraded {
			s.note()
			s.acked = len(s.history)
			return s.check()
		}
		time.Sleep(100 * time.Millisecond)
	}
	return wrong("after a minute durable up to %d of %d, %v", s.store.Durable(), last, s.store.Level())
}

// stop closes the store. What it has acknowledged until then counts.
func (s *sim) stop() error {
	if s.store == nil {
		return nil
	}
	s.hush(true)
	err := s.store.Close()
	synctest.Wait()
	s.note()
	s.mu.Lock()
	s.store = nil
	s.mu.Unlock()
	if n := s.fs.OpenFiles(); n > 0 {
		return wrong("%d files are open after Close", n)
	}
	return err
}

// end is for the end of each test: nothing may be left running in a bubble.
func (s *sim) end() {
	s.fs.StopAt(1)
	s.stop()
}

// crash ends the store without its doing, and puts in its place what that leaves.
func (s *sim) crash(after func(*simfs.FS) *simfs.FS) error {
	s.fs.StopAt(1)
	err := s.stop()
	s.fs = after(s.fs)
	if errors.Is(err, errWrong) {
		return err
	}
	return nil
}

func powerCut(keep simfs.Keep) func(*simfs.FS) *simfs.FS {
	return func(fs *simfs.FS) *simfs.FS { return fs.Crash(keep) }
}

// goOn tries a store that was just started: it takes more, keeps it, closes, and has it all
// after the next start.
func (s *sim) goOn() error {
	s.play(8)
	if err := s.settle(); err != nil {
		return fmt.Errorf("going on: %w", err)
	}
	if err := s.stop(); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	s.fs = s.fs.Crash(simfs.KeepNothing)
	if s.acked != len(s.history) {
		return wrong("%d of %d durable after Close", s.acked, len(s.history))
	}
	if err := s.start(); err != nil {
		return fmt.Errorf("after it was closed: %w", err)
	}
	return s.stop()
}
