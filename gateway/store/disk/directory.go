package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrLocked says that another process has the lock.
var ErrLocked = errors.New("another process uses it")

// directory is an FS: a directory of the operating system.
type directory string

// openDirectory makes the directory if it is missing. It refuses one that others than its
// owner have access to: it holds messages.
func openDirectory(dir string) (directory, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDirectory(dir); err != nil {
			return "", fmt.Errorf("store: cannot make the directory %s: %w", dir, err)
		}
		return directory(dir), nil
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("store: cannot use the directory %s: %w", dir, err)
	case !info.IsDir():
		return "", fmt.Errorf("store: %s is not a directory", dir)
	case hasModes && info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("store: others have access to the directory %s (mode %04o): run chmod 0700 %s", dir, info.Mode().Perm(), dir)
	}
	return directory(dir), nil
}

// makeDirectory makes a directory and those above it, so that a crash does not take them
// away again.
func makeDirectory(dir string) error {
	parent := filepath.Dir(dir)
	if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err := makeDirectory(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return syncDirectory(parent)
}

func (d directory) path(name string) string { return filepath.Join(string(d), name) }

func (d directory) Create(name string, size int64) (File, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if size > 0 {
		if err := preallocate(f, size); err != nil {
			err = &fs.PathError{Op: "preallocate", Path: f.Name(), Err: err}
			return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}
	return file{f}, nil
}

func (d directory) Open(name string) (File, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (d directory) Rename(oldName, newName string) error {
	return os.Rename(d.path(oldName), d.path(newName))
}

func (d directory) Remove(name string) error { return os.Remove(d.path(name)) }

func (d directory) List() ([]string, error) {
	entries, err := os.ReadDir(string(d)) // sorted
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d directory) SyncDir() error { return syncDirectory(string(d)) }

func (d directory) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// file is a File of the operating system.
type file struct{ *os.File }

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f file) Sync() error { return syncData(f.File) }
