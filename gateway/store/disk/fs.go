package disk

import "io"

// FS is the directory that a store lives in. Names are those of files in it.
type FS interface {
	// Create makes a new file with mode 0600, preallocated to size if that is possible,
	// else just created. Octets that were not written are zero.
	Create(name string, size int64) (File, error)
	// Open opens an existing file for reading and writing. The error is fs.ErrNotExist if
	// there is none.
	Open(name string) (File, error)
	// Rename replaces a file of the new name.
	Rename(oldName, newName string) error
	Remove(name string) error
	// List returns the names of the files, sorted.
	List() ([]string, error)
	// SyncDir makes durable what Create, Rename and Remove have done.
	SyncDir() error
	// Lock makes the file if it is missing and locks it against other processes. The error
	// is ErrLocked if another one has it. Closing it, or the end of the process, unlocks it.
	Lock(name string) (io.Closer, error)
}

// File is an open file of an FS. Writing past its end makes it longer.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Size() (int64, error)
	// Sync makes the data and the size durable (fdatasync).
	Sync() error
	Close() error
}
