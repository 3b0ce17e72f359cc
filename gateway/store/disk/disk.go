// Package disk is a store.Store on disk.
package disk

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"mqttsn-gateway/gateway/store"
)

// Store is a store.Store on disk.
type Store struct {
	*store.Memory
	lock io.Closer
}

// Open opens the store in the directory of the options.
func Open(o Options, log *slog.Logger) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Dir == "" {
		return nil, errors.New("store: no directory is set")
	}
	dir, err := openDirectory(o.Dir)
	if err != nil {
		return nil, err
	}
	return OpenFS(dir, o, log)
}

// OpenFS opens the store in a directory that may be a simulated one.
func OpenFS(fs FS, o Options, _ *slog.Logger) (*Store, error) {
	lock, err := fs.Lock("LOCK")
	if err != nil {
		return nil, fmt.Errorf("store: %s: cannot lock: %w", o.Dir, err)
	}
	return &Store{Memory: store.NewMemory(), lock: lock}, nil
}

// Stats says how the store is.
func (s *Store) Stats() Stats { return Stats{} }

// Close ends it.
func (s *Store) Close() error { return s.lock.Close() }
