package disk

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mqttsn-gateway/gateway/planted"
	"mqttsn-gateway/gateway/store"
)

// Store is a store.Store on disk. Apply puts changes into the open group, one goroutine
// writes group after group.
type Store struct {
	fs      FS
	options Options
	log     *slog.Logger
	lock    io.Closer
	salt    uint64

	durable atomic.Uint64
	level   atomic.Uint32

	wake    chan struct{} // something is to be committed
	closing chan struct{}
	done    chan struct{}
	close   func() error

	mu       sync.Mutex
	index    index
	open     *group      // takes changes
	flying   *group      // is being written; nil between commits
	records  int         // that exist, with what is not durable yet
	bytes    int64       // cost of these
	quota    store.Level // by bytes and records
	short    bool        // there is no space for the reserve
	failing  bool        // nothing becomes durable
	closed   bool
	segments []*segment // oldest first
	notified []func()
	stats    Stats

	committer // of the goroutine alone, no lock
}

var errClosed = errors.New("store: it is closed")

// Open opens the store in the directory of the options, or makes one. What is damaged is
// logged, and found in Stats; it keeps nothing from starting. The error says what does: the
// directory, a format of a later release, another process that uses it, or a disk that
// cannot be written.
func Open(o Options, log *slog.Logger) (*Store, error) {
	if o.Dir == "" {
		return nil, errors.New("store: no directory is set")
	}
	dir, err := openDirectory(o.Dir)
	if err != nil {
		return nil, err
	}
	return OpenFS(dir, o, log)
}

// OpenFS is Open in a directory that may be a simulated one. Dir is for messages only.
func OpenFS(fs FS, o Options, log *slog.Logger) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	lock, err := fs.Lock(lockFile)
	if errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("store: %w: the directory %s: stop that one, or set another directory", err, o.Dir)
	} else if err != nil {
		return nil, fmt.Errorf("store: cannot lock the directory %s: %w", o.Dir, err)
	}
	s := &Store{
		fs: fs, options: o, log: log, lock: lock, open: &group{mark: 1},
		wake: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{}),
	}
	s.close = sync.OnceValue(s.shutdown)
	if err := s.recover(); err != nil {
		_ = s.release() // what was before it counts
		return nil, fmt.Errorf("store: %s: %w", o.Dir, err)
	}
	go s.run()
	return s, nil
}

// Apply takes changes: store.Store.
func (s *Store) Apply(ops ...store.Op) store.Mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := false
	for _, op := range ops {
		if s.apply(op) {
			changed = true
		}
	}
	if !changed && !s.open.used {
		return s.open.mark - 1 // all that was applied before is in groups before this one
	}
	s.open.used = true
	s.setLevel()
	s.signal()
	return s.open.mark
}

// signal has the goroutine look for something to commit.
func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// apply puts an operation into the open group, and reports whether it changes anything.
func (s *Store) apply(op store.Op) bool {
	if op.Value != nil {
		r := s.index.of(op.Key)
		s.discount(op.Key, r)
		s.records++
		s.bytes += cost(op.Key, len(op.Value))
		op.Value = s.open.copy(op.Value)
		s.open.set(r, op)
		return true
	}
	r := s.index.get(op.Key)
	if r == nil || !s.discount(op.Key, r) {
		return false
	}
	if s.beneath(r) {
		s.open.set(r, op)
	} else {
		s.open.drop(r) // nobody has ever seen it on the disk
		s.index.sweep(op.Key, r)
	}
	return true
}

// discount takes a record out of the counts, and reports whether there is one.
func (s *Store) discount(k store.Key, r *record) bool {
	size, exists := s.size(r)
	if exists {
		s.records--
		s.bytes -= cost(k, size)
	}
	return exists
}

// size is the length of the value that a record has as it was applied last.
func (s *Store) size(r *record) (int, bool) {
	op := s.open.get(r)
	if op == nil {
		op = s.flying.get(r)
	}
	if op != nil {
		return len(op.Value), op.Value != nil
	}
	return int(r.length), r.segment != nil
}

// beneath reports whether a record exists once all groups before the open one are durable.
func (s *Store) beneath(r *record) bool {
	if op := s.flying.get(r); op != nil {
		return op.Value != nil
	}
	return r.segment != nil
}

// Durable is the mark up to which all is durable: store.Store.
func (s *Store) Durable() store.Mark {
	if planted.AckBeforeSync {
		return 1 << 63
	}
	return store.Mark(s.durable.Load())
}

// Level says how much the store can still take: store.Store.
func (s *Store) Level() store.Level {
	l := store.Level(s.level.Load())
	if l < store.Crowded && s.slowness.any() && s.slowness.is(time.Now()) {
		return store.Crowded
	}
	return l
}

// Notify has fn called: store.Store.
func (s *Store) Notify(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notified = append(s.notified, fn)
}

// Read appends the value of a record to b: store.Store.
func (s *Store) Read(k store.Key, b []byte) ([]byte, error) {
	s.mu.Lock()
	r := s.index.get(k)
	if r == nil {
		s.mu.Unlock()
		return b, store.ErrNotFound
	}
	op := s.open.get(r)
	if op == nil {
		op = s.flying.get(r)
	}
	e := r.entry
	switch {
	case op != nil:
		defer s.mu.Unlock()
		if op.Value == nil {
			return b, store.ErrNotFound
		}
		return append(b, op.Value...), nil
	case s.closed:
		s.mu.Unlock()
		return b, errClosed
	}
	e.segment.mu.RLock() // before mu is left: a segment that the index names is there
	s.mu.Unlock()
	defer e.segment.mu.RUnlock()
	return e.read(b)
}

// read appends the value from the file to b.
func (e entry) read(b []byte) ([]byte, error) {
	start := len(b)
	b = slices.Grow(b, int(e.length))[:start+int(e.length)]
	n, err := e.segment.file.ReadAt(b[start:], int64(e.offset))
	if n == int(e.length) {
		err = nil
	}
	if err == nil && crc32.Checksum(b[start:], castagnoli) != e.check {
		err = errors.New("the checksum is wrong")
	}
	if err != nil {
		return b[:start], fmt.Errorf("store: a record of %d octets in %s at %d cannot be read: %w", e.length, e.segment.name, e.offset, err)
	}
	return b, nil
}

// All calls fn for each record of a space: store.Store.
func (s *Store) All(space store.Space, fn func(k store.Key, value []byte) error) error {
	s.mu.Lock()
	names := make([]name, 0, len(s.index.spaces[space]))
	for n := range s.index.spaces[space] {
		names = append(names, n)
	}
	s.mu.Unlock()
	slices.SortFunc(names, func(a, b name) int {
		if c := strings.Compare(a.client, b.client); c != 0 {
			return c
		}
		return cmp.Compare(a.number, b.number)
	})
	var value []byte
	for _, n := range names {
		k := store.Key{Space: space, Client: n.client, Number: n.number}
		v, err := s.Read(k, value[:0])
		if errors.Is(err, store.ErrNotFound) {
			continue // it is deleted
		} else if err != nil {
			return err
		}
		value = v
		if err := fn(k, v); err != nil {
			return err
		}
	}
	return nil
}

// Stats says how the store is.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Records, st.LiveBytes, st.Segments, st.Level = s.records, s.bytes, len(s.segments), s.Level()
	st.LogBytes = s.logBytes()
	st.Damages = slices.Clone(st.Damages)
	return st
}

// logBytes is the size of all segments.
func (s *Store) logBytes() (n int64) {
	for _, seg := range s.segments {
		n += align(seg.end)
	}
	return n
}

// Close makes durable what was applied, and ends: store.Store. The error says that this was
// not possible.
func (s *Store) Close() error { return s.close() }

func (s *Store) shutdown() error {
	close(s.closing)
	<-s.done
	return s.release()
}

// release closes all files, the lock last.
func (s *Store) release() error {
	s.mu.Lock()
	s.closed = true
	segments := s.segments
	var err error
	if s.open.used || s.flying != nil {
		err = fmt.Errorf("store: what was applied last is not durable: %w", s.failure)
	}
	s.mu.Unlock()
	for _, seg := range segments {
		seg.shut()
	}
	return errors.Join(err, s.lock.Close())
}
