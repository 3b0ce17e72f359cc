// Package simfs is a simulated directory for tests of gateway/store/disk. It keeps apart
// what is on the disk and what the operating system has only been told, fails any operation
// that a test names, and tells what a crash would leave.
//
// # What it takes to be true
//
// A file system may do anything that its contract allows, and this one does:
//
//   - What was written and not synced may be on the disk after a power cut, or not, in any
//     part: 512 octets are a sector, which is written in whole or not at all; sectors of one
//     write and of several come in any order. The size of a file is such a thing as well.
//   - Create, Rename and Remove are on the disk after SyncDir. Before it each may be or not.
//     Sync of a file does not make its name durable.
//   - When Sync fails, what was to be written is dropped and not tried again, as on Linux:
//     the next Sync returns nil. Reads may still return what was dropped, even to the next
//     process after a kill, until the power cut (PostgreSQL's "fsyncgate").
//   - A write may fail when a part of it was done.
//   - After Create has failed there may be a file.
//
// # Crashes
//
// An [FS] counts its operations, so that a test can crash it at each: StopAt fails that
// operation and all after it, and Crash or CrashKill makes the FS for the next start.
// Everything random comes from the seed.
package simfs

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"mqttsn-gateway/gateway/store/disk"
)

// FS is a simulated directory: a disk.FS. Its methods may be called from any goroutine.
type FS struct {
	mu     sync.Mutex
	random *rand.Rand
	// noSpaceAhead makes Create leave a file empty, as where files cannot be preallocated.
	noSpaceAhead bool

	files map[string]*inode // as processes see them
	safe  map[string]*inode // that a power cut leaves
	moves []move            // that lead from safe to files
	open  map[*File]struct{}
	locks map[string]bool

	capacity int64 // 0: endless
	faults   faults
	before   func(Op)
	dead     bool // by a crash
}

// move is a change of the directory that is not durable yet: a name gets a file, and
// another one loses it.
type move struct {
	set, unset string
	file       *inode
}

// New makes an empty directory. All that is random in it, and after crashes of it, comes
// from the seed.
func New(seed uint64) *FS {
	s := &FS{files: make(map[string]*inode), safe: make(map[string]*inode)}
	s.start(rand.New(rand.NewPCG(seed, 0x51f5)))
	return s
}

// start sets what is not kept over a crash.
func (s *FS) start(random *rand.Rand) {
	s.random = random
	s.noSpaceAhead = random.IntN(4) == 0
	s.open = make(map[*File]struct{})
	s.locks = make(map[string]bool)
}

// SetCapacity sets how many octets all files together can have, 0 for no limit. Writes and
// Create beyond it fail with ENOSPC. Files that are already there keep what they have.
func (s *FS) SetCapacity(octets int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capacity = octets
}

// OpenFiles is how many files and locks were not closed.
func (s *FS) OpenFiles() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open) + len(s.locks)
}

// Create makes a file: disk.FS.
func (s *FS) Create(name string, size int64) (disk.File, error) {
	s.about(Op{Kind: OpCreate, Name: name, Size: size})
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.begin(OpCreate, name)
	switch {
	case s.dead || s.faults.stopped:
		return nil, err
	case s.files[name] != nil:
		return nil, pathError(OpCreate, name, fs.ErrExist)
	case err == nil && !s.hasSpace(size):
		err = pathError(OpCreate, name, errNoSpace)
	}
	if err != nil && s.random.IntN(2) == 0 {
		return nil, err
	}
	f := &inode{name: name}
	s.files[name] = f
	s.moves = append(s.moves, move{set: name, file: f})
	if err != nil {
		return nil, err
	}
	if !s.noSpaceAhead && size > 0 {
		f.change(change{truncate: true, size: size})
	}
	return s.handle(f), nil
}

// Open opens a file: disk.FS.
func (s *FS) Open(name string) (disk.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.beginRead("open", name); err != nil {
		return nil, err
	}
	f := s.files[name]
	if f == nil {
		return nil, pathError("open", name, fs.ErrNotExist)
	}
	return s.handle(f), nil
}

func (s *FS) handle(f *inode) *File {
	h := &File{fs: s, inode: f}
	s.open[h] = struct{}{}
	return h
}

// Rename gives a file another name: disk.FS.
func (s *FS) Rename(oldName, newName string) error {
	s.about(Op{Kind: OpRename, Name: oldName, To: newName})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(OpRename, oldName); err != nil {
		return err
	}
	f := s.files[oldName]
	switch {
	case f == nil:
		return pathError(OpRename, oldName, fs.ErrNotExist)
	case oldName == newName:
		return nil
	}
	delete(s.files, oldName)
	s.files[newName] = f
	f.name = newName
	s.moves = append(s.moves, move{set: newName, unset: oldName, file: f})
	return nil
}

// Remove removes a file: disk.FS.
func (s *FS) Remove(name string) error {
	s.about(Op{Kind: OpRemove, Name: name})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(OpRemove, name); err != nil {
		return err
	}
	if s.files[name] == nil {
		return pathError(OpRemove, name, fs.ErrNotExist)
	}
	delete(s.files, name)
	s.moves = append(s.moves, move{unset: name})
	return nil
}

// List returns the names of the files: disk.FS.
func (s *FS) List() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.beginRead("list", "."); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(s.files)), nil
}

// SyncDir makes names durable: disk.FS. When it fails some of them may be, and the next
// one makes the rest durable: names are not dropped.
func (s *FS) SyncDir() error {
	s.about(Op{Kind: OpSyncDir, Name: "."})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(OpSyncDir, "."); err != nil {
		return err
	}
	s.safe, s.moves = maps.Clone(s.files), nil
	return nil
}

// Lock locks a file: disk.FS.
func (s *FS) Lock(name string) (io.Closer, error) {
	s.about(Op{Kind: OpLock, Name: name})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(OpLock, name); err != nil {
		return nil, err
	}
	if s.locks[name] {
		return nil, pathError(OpLock, name, disk.ErrLocked)
	}
	if s.files[name] == nil {
		f := &inode{name: name}
		s.files[name] = f
		s.moves = append(s.moves, move{set: name, file: f})
	}
	s.locks[name] = true
	return &held{s, name}, nil
}

// held is a lock that somebody has.
type held struct {
	fs   *FS
	name string
}

// Close unlocks.
func (l *held) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if !l.fs.locks[l.name] {
		return pathError("unlock", l.name, fs.ErrClosed)
	}
	delete(l.fs.locks, l.name)
	return nil
}

// hasSpace reports whether all files may grow by so many octets.
func (s *FS) hasSpace(more int64) bool {
	if s.capacity == 0 || more <= 0 {
		return true
	}
	used := more
	counted := make(map[*inode]bool)
	for _, f := range s.files {
		used += int64(len(f.data))
		counted[f] = true
	}
	for h := range s.open { // a removed file takes its space until it is closed
		if !counted[h.inode] {
			used += int64(len(h.inode.data))
			counted[h.inode] = true
		}
	}
	return used <= s.capacity
}

func pathError(op OpKind, name string, err error) error {
	return fmt.Errorf("simulated disk: %w", &fs.PathError{Op: string(op), Path: name, Err: err})
}
