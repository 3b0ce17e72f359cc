package disk

import (
	"encoding/binary"
	"sync"
)

// segment is one file of the log.
type segment struct {
	number  uint64
	seed    uint32 // of its checksums
	name    string // of its file now
	end     int64  // of the valid part: what lies behind it is not looked at
	size    int64  // that was preallocated
	damaged bool   // so it is kept when it is not needed any more

	live int // records of the index that stand in it; protected by Store.mu

	mu   sync.RWMutex // held by readers, so that the file is not closed meanwhile
	file File
}

// shut closes the file once nobody reads it.
func (s *segment) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		_ = s.file.Close() // what was to be synced is
		s.file = nil
	}
}

// scanner reads the frames of a segment.
type scanner struct {
	file   File
	end    int64
	seed   uint32
	window []byte // octets of the file from start on
	start  int64
}

// windowSize is how much is read at once.
const windowSize = 256 << 10

// bytes returns n octets at an offset, or nil if they are not there or cannot be read.
// They are valid until the next call.
func (s *scanner) bytes(offset, n int64) []byte {
	if n > s.end-offset {
		return nil
	}
	if offset < s.start || offset+n > s.start+int64(len(s.window)) {
		// One bad sector must not take its neighbours along.
		if !s.read(offset, min(max(n, windowSize), s.end-offset)) && !s.read(offset, n) {
			return nil
		}
	}
	at := offset - s.start
	return s.window[at : at+n : at+n]
}

func (s *scanner) read(offset, n int64) bool {
	if int64(cap(s.window)) < n {
		s.window = make([]byte, n)
	}
	s.window, s.start = s.window[:n], offset
	got, err := s.file.ReadAt(s.window, offset)
	if int64(got) < n && err != nil {
		s.window = s.window[:0]
		return false
	}
	return true
}

// frame returns the frame at an offset, if a valid one is there. Its octets are valid until
// the next call.
func (s *scanner) frame(offset int64) (frame, bool) {
	head := s.bytes(offset, frameHead)
	if head == nil {
		return frame{}, false
	}
	length := int64(binary.LittleEndian.Uint32(head[4:]))
	if length == 0 || length > s.end-offset-frameHead {
		return frame{}, false
	}
	b := s.bytes(offset, frameHead+length)
	if b == nil || !validFrame(b, s.seed) {
		return frame{}, false
	}
	return frame{offset: offset, sequence: binary.LittleEndian.Uint64(b[8:]), ops: b[frameHead:]}, true
}

// find returns the first valid frame from an offset on, with a sequence that can follow
// after last; a last of 0 means any. Each frame takes a block at least, so a frame cannot
// be ahead by more than there are blocks.
func (s *scanner) find(offset int64, last uint64) (frame, bool) {
	for blocks := uint64(1); offset < s.end; offset, blocks = offset+blockSize, blocks+1 {
		head := s.bytes(offset, frameHead)
		if head == nil {
			continue
		}
		if n := binary.LittleEndian.Uint64(head[8:]); last != 0 && (n <= last || n-last > blocks+1) {
			continue
		}
		if f, ok := s.frame(offset); ok {
			return f, true
		}
	}
	return frame{}, false
}

// blank reports whether the file has nothing but zeros from an offset on.
func (s *scanner) blank(offset int64) bool {
	for offset < s.end {
		n := min(blockSize, s.end-offset)
		b := s.bytes(offset, n)
		if b == nil {
			return false
		}
		for _, c := range b {
			if c != 0 {
				return false
			}
		}
		offset += n
	}
	return true
}
