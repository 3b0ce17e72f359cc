package simfs

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
)

// OpKind is what an operation does.
type OpKind string

// The operations that are counted: those that change something.
const (
	OpCreate   OpKind = "create"
	OpRename   OpKind = "rename"
	OpRemove   OpKind = "remove"
	OpWrite    OpKind = "write"
	OpTruncate OpKind = "truncate"
	OpSync     OpKind = "sync"
	OpSyncDir  OpKind = "syncdir"
	OpLock     OpKind = "lock"
)

// Op is an operation.
type Op struct {
	Kind      OpKind
	Name, To  string
	Off, Size int64
}

// String is how messages show it.
func (o Op) String() string {
	switch o.Kind {
	case OpRename:
		return fmt.Sprintf("rename %s to %s", o.Name, o.To)
	case OpWrite:
		return fmt.Sprintf("write %s: %d octets at %d", o.Name, o.Size, o.Off)
	case OpCreate, OpTruncate:
		return fmt.Sprintf("%s %s: %d octets", o.Kind, o.Name, o.Size)
	default:
		return fmt.Sprintf("%s %s", o.Kind, o.Name)
	}
}

// Fault is a way to fail.
type Fault byte

// The ways to fail.
const (
	// IO fails with EIO, any operation. Nothing of it is done; a Sync drops what it should
	// have written.
	IO Fault = iota + 1
	// NoSpace fails with ENOSPC: Create, WriteAt and Truncate, nothing of which is done.
	// It waits for one of these.
	NoSpace
	// Torn fails with EIO like IO, but a part of a write is done.
	Torn
)

// String is its name.
func (f Fault) String() string {
	return [...]string{"none", "EIO", "ENOSPC", "torn"}[f]
}

var (
	errNoSpace = error(syscall.ENOSPC)
	errIO      = error(syscall.EIO)
	// ErrStopped is the error of everything after StopAt, and of what was open at a crash.
	ErrStopped = errors.New("stopped by the test")
)

// plan is a fault that is to come.
type plan struct {
	at    int
	kind  Fault
	stays bool
}

type faults struct {
	ops      int // that were begun
	reads    int
	plans    []plan
	readPlan plan
	last     Fault // of the operation that failed last
	stopAt   int
	stopped  bool
}

// Ops is how many operations that change something were begun. The first has number 1.
func (s *FS) Ops() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults.ops
}

// Reads is how many operations that change nothing were begun: Open, List, ReadAt, Size.
func (s *FS) Reads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults.reads
}

// FailAt has operation number n fail, or the first one after it that can fail in this way.
func (s *FS) FailAt(n int, f Fault) { s.plan(plan{at: n, kind: f}) }

// FailFrom has operation number n fail and all after it, until Heal.
func (s *FS) FailFrom(n int, f Fault) { s.plan(plan{at: n, kind: f, stays: true}) }

func (s *FS) plan(p plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.plans = append(s.faults.plans, p)
}

// FailReadAt has the operation number n of those that Reads counts fail with EIO.
func (s *FS) FailReadAt(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.readPlan = plan{at: n, kind: IO}
}

// Heal ends all faults, those to come as well. It does not bring back what was dropped.
func (s *FS) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.plans, s.faults.readPlan = nil, plan{}
}

// StopAt has operation number n and all after it fail, reads as well, and do nothing: what
// is then there is what a crash just before that operation finds. Only Crash and CrashKill
// lead on from there.
func (s *FS) StopAt(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.stopAt = n
}

// Stopped reports whether StopAt has come into effect.
func (s *FS) Stopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults.stopped
}

// Before has fn called before each operation that Ops counts, on the goroutine that asks
// for it and without a lock: so a test can act while an operation goes on. To be called
// before all others.
func (s *FS) Before(fn func(Op)) { s.before = fn }

func (s *FS) about(op Op) {
	if s.before != nil {
		s.before(op)
	}
}

// begin counts an operation and says whether it is to fail.
func (s *FS) begin(kind OpKind, name string) error {
	if s.dead {
		return pathError(kind, name, ErrStopped)
	}
	s.faults.ops++
	if s.faults.stopAt > 0 && s.faults.ops >= s.faults.stopAt {
		s.faults.stopped = true
	}
	if s.faults.stopped {
		return pathError(kind, name, ErrStopped)
	}
	i := slices.IndexFunc(s.faults.plans, func(p plan) bool {
		takesSpace := kind == OpCreate || kind == OpWrite || kind == OpTruncate
		return s.faults.ops >= p.at && (p.kind != NoSpace || takesSpace)
	})
	if i < 0 {
		return nil
	}
	p := s.faults.plans[i]
	if !p.stays {
		s.faults.plans = slices.Delete(s.faults.plans, i, i+1)
	}
	s.faults.last = p.kind
	if p.kind == NoSpace {
		return pathError(kind, name, errNoSpace)
	}
	return pathError(kind, name, errIO)
}

// beginRead is begin for an operation that changes nothing.
func (s *FS) beginRead(kind OpKind, name string) error {
	if s.dead || s.faults.stopped {
		return pathError(kind, name, ErrStopped)
	}
	s.faults.reads++
	if p := s.faults.readPlan; p.at > 0 && s.faults.reads >= p.at {
		s.faults.readPlan = plan{}
		return pathError(kind, name, errIO)
	}
	return nil
}
