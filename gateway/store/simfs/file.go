package simfs

import (
	"io"
	"io/fs"
	"slices"
)

// sectorSize is the part of a file that is written in whole or not at all.
const sectorSize = 512

// inode is a file, whatever its names are. Its data is what processes read. On the disk is
// safe with those of the changes that were synced.
type inode struct {
	name    string
	data    []byte
	safe    []byte
	shared  bool     // data is the same slice as safe
	changes []change // since safe, in order
}

// change is a write or a truncation.
type change struct {
	truncate bool
	size     int64 // after truncation
	off      int64
	data     []byte
	fate     fate
}

// fate says what became of a change.
type fate byte

const (
	dirty   fate = iota // not synced yet: the next Sync does it
	dropped             // a Sync has failed: no other one does it
	synced              // on the disk
)

// change does one.
func (f *inode) change(c change) {
	if f.shared {
		f.data, f.shared = append([]byte(nil), f.data...), false
	}
	f.data = c.apply(f.data)
	f.changes = append(f.changes, c)
}

// apply returns the data of a file after the change.
func (c change) apply(data []byte) []byte {
	if c.truncate {
		if c.size <= int64(len(data)) {
			return data[:c.size:c.size]
		}
		return append(data, make([]byte, c.size-int64(len(data)))...)
	}
	if end := c.off + int64(len(c.data)); end > int64(len(data)) {
		data = append(data, make([]byte, end-int64(len(data)))...)
	}
	copy(data[c.off:], c.data)
	return data
}

// sync makes durable what was not dropped.
func (f *inode) sync() {
	folded := 0
	for i := range f.changes {
		c := &f.changes[i]
		if c.fate == dirty {
			c.fate = synced
		}
		if c.fate == synced && folded == i {
			f.safe = c.apply(f.safe)
			folded++
		}
	}
	f.changes = append([]change(nil), f.changes[folded:]...)
}

// drop is what a Sync does that fails. If the system has no memory to spare the file reads
// afterwards as it is on the disk, and so it stays: nothing of what was dropped is there.
func (f *inode) drop(evict bool) {
	for i := range f.changes {
		if f.changes[i].fate == dirty {
			f.changes[i].fate = dropped
		}
	}
	if !evict {
		return
	}
	f.changes = slices.DeleteFunc(f.changes, func(c change) bool { return c.fate == dropped && !c.truncate })
	size := int64(len(f.data))
	f.data = change{truncate: true, size: size}.apply(f.left(func(c change) []change { return []change{c} }))
}

// left is the data on the disk if of each change those parts were done that keep returns.
func (f *inode) left(keep func(change) []change) []byte {
	data := append([]byte(nil), f.safe...)
	for _, c := range f.changes {
		for _, part := range keep(c) {
			data = part.apply(data)
		}
	}
	return data
}

// sectors divides a write at the borders of sectors.
func (c change) sectors() []change {
	if c.truncate {
		return []change{c}
	}
	var parts []change
	for data, off := c.data, c.off; len(data) > 0; {
		n := min(int64(len(data)), sectorSize-off%sectorSize)
		parts = append(parts, change{off: off, data: data[:n]})
		data, off = data[n:], off+n
	}
	return parts
}

// File is an open file: a disk.File.
type File struct {
	fs    *FS
	inode *inode
}

// check reports a file that was closed.
func (h *File) check(op OpKind) error {
	if _, ok := h.fs.open[h]; !ok {
		return pathError(op, h.inode.name, fs.ErrClosed)
	}
	return nil
}

// ReadAt reads: disk.File.
func (h *File) ReadAt(b []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.fs.beginRead("read", h.inode.name); err != nil {
		return 0, err
	}
	if err := h.check("read"); err != nil {
		return 0, err
	}
	if off >= int64(len(h.inode.data)) {
		return 0, io.EOF
	}
	n := copy(b, h.inode.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes: disk.File. If it fails, a part of it may be done all the same.
func (h *File) WriteAt(b []byte, off int64) (int, error) {
	h.fs.about(Op{Kind: OpWrite, Name: h.inode.name, Off: off, Size: int64(len(b))})
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	err := h.fs.begin(OpWrite, h.inode.name)
	if closed := h.check(OpWrite); closed != nil {
		return 0, closed
	}
	n := len(b)
	size := int64(len(h.inode.data))
	switch {
	case h.fs.dead || h.fs.faults.stopped:
		return 0, err
	case err != nil && h.fs.faults.last == Torn:
		n = h.fs.random.IntN(len(b) + 1)
	case err != nil:
		return 0, err
	case !h.fs.hasSpace(off + int64(n) - size):
		err = pathError(OpWrite, h.inode.name, errNoSpace)
		for n = 0; n+sectorSize <= len(b) && h.fs.hasSpace(off+int64(n+sectorSize)-size); {
			n += sectorSize
		}
	}
	if n > 0 {
		h.inode.change(change{off: off, data: append([]byte(nil), b[:n]...)})
	}
	return n, err
}

// Truncate sets the size: disk.File.
func (h *File) Truncate(size int64) error {
	h.fs.about(Op{Kind: OpTruncate, Name: h.inode.name, Size: size})
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.fs.begin(OpTruncate, h.inode.name); err != nil {
		return err
	}
	if err := h.check(OpTruncate); err != nil {
		return err
	}
	if !h.fs.hasSpace(size - int64(len(h.inode.data))) {
		return pathError(OpTruncate, h.inode.name, errNoSpace)
	}
	h.inode.change(change{truncate: true, size: size})
	return nil
}

// Size returns the size: disk.File.
func (h *File) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.fs.beginRead("size", h.inode.name); err != nil {
		return 0, err
	}
	return int64(len(h.inode.data)), h.check("size")
}

// Sync makes data and size durable: disk.File.
func (h *File) Sync() error {
	h.fs.about(Op{Kind: OpSync, Name: h.inode.name})
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	err := h.fs.begin(OpSync, h.inode.name)
	if closed := h.check(OpSync); closed != nil {
		return closed
	}
	switch {
	case err == nil:
		h.inode.sync()
	case !h.fs.dead && !h.fs.faults.stopped:
		h.inode.drop(h.fs.random.IntN(2) == 0)
	}
	return err
}

// Close closes: disk.File. What was not synced stays so.
func (h *File) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	err := h.check("close")
	delete(h.fs.open, h)
	return err
}
