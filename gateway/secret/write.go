package secret

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Create writes a new file that only its owner can read. It is there as a whole, and to stay,
// or not at all. A file that is there already is left alone: see fs.ErrExist.
func Create(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := fill(f, text); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return syncDirectory(filepath.Dir(name))
}

// Replace writes a file anew, so that at each instant it is there with the old text or with
// the new one. It keeps its owner and group, and its mode but for what others may do.
func Replace(name string, text []byte) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file: only such are replaced", name)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	err = errors.Join(keep(f, info), fill(f, text))
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s is not changed: %w", name, err), os.Remove(f.Name()))
	}
	return syncDirectory(filepath.Dir(name))
}

// keep gives f the owner and group of an older file, and its mode without what others may do.
func keep(f *os.File, older fs.FileInfo) error {
	if err := keepOwner(f, older); err != nil {
		return err
	}
	return f.Chmod(older.Mode().Perm()&^0o027 | 0o600)
}

// fill writes all of a file and makes it durable.
func fill(f *os.File, text []byte) error {
	_, err := f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
