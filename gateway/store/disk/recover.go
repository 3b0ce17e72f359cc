package disk

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// found is a segment that recovery has found.
type found struct {
	*segment
	header header
	whole  bool   // the header is
	exact  bool   // end is known from the header of the next one
	next   uint64 // sequence of the first frame of that one
}

// recover reads what is in the directory, and makes the store go on from there.
func (s *Store) recover() error {
	names, err := s.fs.List()
	if err != nil {
		return err
	}
	files, err := s.openSegments(names)
	if err != nil {
		return err
	}
	if err := s.readFormat(names, files); err != nil {
		return err
	}
	files, err = s.chain(files)
	if err != nil {
		return err
	}
	s.segments = nil
	for _, f := range files {
		s.segments = append(s.segments, f.segment)
	}
	r := replay{Store: s, clients: make(map[string]string)}
	for _, f := range files {
		r.read(f)
	}
	// What another process has made or removed may have been on its way to the disk only.
	if err := s.fs.SyncDir(); err != nil {
		return fmt.Errorf("cannot sync the directory: %w", err)
	}
	if slices.Contains(names, reserveFile) {
		s.reserve.there = s.reserveFits()
	}
	s.keepReserve()
	r.finish()
	s.setLevel()
	s.clean()
	return nil
}

// openSegments opens the segments in the order of their numbers, and reads their headers.
func (s *Store) openSegments(names []string) (files []*found, err error) {
	for _, n := range names {
		number, kept := segmentNumber(n)
		s.next = max(s.next, number)
		if number == 0 || kept {
			continue
		}
		f := &found{segment: &segment{number: number, name: n}}
		if f.file, err = s.fs.Open(n); err == nil {
			s.segments = append(s.segments, f.segment) // so that it is closed
			f.size, err = f.file.Size()
		}
		if err != nil {
			return nil, err
		}
		b := make([]byte, headerSize)
		got, _ := f.file.ReadAt(b, 0)
		f.header, err = decodeHeader(b[:got], number)
		if errors.Is(err, errVersion) {
			return nil, err
		}
		f.whole = err == nil
		files = append(files, f)
	}
	s.next++
	return files, nil
}

// chain leaves out the segments that were never finished, and sets the ends of the others:
// each header says where the segment before ends.
func (s *Store) chain(files []*found) ([]*found, error) {
	var chain []*found
	var next *found // in the chain
	for _, f := range slices.Backward(files) {
		unfinished := false
		if next == nil {
			unfinished = f.blank()
		} else if next.whole {
			// Making it has failed, and the next one was made in its place.
			unfinished = next.header.previous < f.number
		}
		if unfinished {
			f.shut()
			if err := s.fs.Remove(f.name); err != nil {
				return nil, err
			}
			continue
		}
		f.end = f.size
		if next != nil && next.whole && next.header.previous == f.number {
			f.end, f.exact, f.next = next.header.end, true, next.header.sequence
		}
		chain = append(chain, f)
		next = f
	}
	slices.Reverse(chain)
	return chain, nil
}

// blank reports whether nothing stands behind the header, so that nothing was ever durable
// in it: its header is before anything follows.
func (f *found) blank() bool {
	scanner := scanner{file: f.file, end: f.size}
	return scanner.blank(headerSize)
}

// readFormat reads the file FORMAT, or makes it. If it is damaged, what it had to say
// stands in the segments as well.
func (s *Store) readFormat(names []string, files []*found) error {
	if slices.Contains(names, formatFile) {
		text, err := s.readFile(formatFile)
		if err != nil {
			return err
		}
		f, err := decodeFormat(text)
		if err == nil || errors.Is(err, errVersion) {
			s.salt = f.salt
			return err
		}
		s.log.Error("store: a file is damaged and is written again", "file", formatFile, "kept", formatFile+keptSuffix)
		if err := s.fs.Rename(formatFile, formatFile+keptSuffix); err != nil {
			return err
		}
	}
	for _, f := range files {
		if f.whole {
			s.salt = f.header.salt
		}
	}
	if s.salt == 0 {
		var b [8]byte
		_, _ = rand.Read(b[:]) // it never fails
		s.salt = binary.LittleEndian.Uint64(b[:])
	}
	return s.writeFormat()
}

// readFile reads a small file.
func (s *Store) readFile(name string) ([]byte, error) {
	f, err := s.fs.Open(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, blockSize)
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], errors.Join(err, f.Close())
}

// writeFormat makes the file FORMAT, all or none of it.
func (s *Store) writeFormat() (err error) {
	if err := s.fs.Remove(formatNew); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.fs.Create(formatNew, 0)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(format{salt: s.salt}.encode(), 0); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.fs.Rename(formatNew, formatFile); err != nil {
		return err
	}
	return s.fs.SyncDir()
}

// reserveFits reports whether the reserve of an earlier start has its size; if not, it is
// removed.
func (s *Store) reserveFits() bool {
	if f, err := s.fs.Open(reserveFile); err == nil {
		size, err := f.Size()
		_ = f.Close() // nothing was written
		if err == nil && size == int64(s.options.SegmentSize) {
			return true
		}
	}
	_ = s.fs.Remove(reserveFile) // making it will say what is wrong
	return false
}
