// Package secret reads the files that prove identities: keys, certificates, passwords and
// lists of them. It refuses those that others could read or change. It writes such files, too.
package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

// MaxFile bounds the files that are read, in octets: a list may have a million lines.
const MaxFile = 64 << 20

// Read reads a regular file of up to [MaxFile] octets, only if no others than its owner and
// group can read it, and only its owner can change it. Its errors name the file, and say what
// to do.
func Read(name string) ([]byte, error) { return read(name, true) }

// ReadPublic reads a regular file of up to [MaxFile] octets that others may read, too, such
// as a certificate or a list of rights, but not write.
func ReadPublic(name string) ([]byte, error) { return read(name, false) }

// ReadPassword reads a file that holds one password of 1 to 65535 octets, as [Read] does. One
// line break at its end is not part of it.
func ReadPassword(name string) ([]byte, error) {
	const longest = 65535 // what MQTT can carry
	password, err := Read(name)
	if err != nil {
		return nil, err
	}
	password = bytes.TrimSuffix(bytes.TrimSuffix(password, []byte("\n")), []byte("\r"))
	switch {
	case len(password) == 0:
		return nil, errors.New(name + " is empty")
	case len(password) > longest:
		return nil, fmt.Errorf("%s is longer than %d octets", name, longest)
	}
	return password, nil
}

// Files of other kinds may never end, or not even open: a pipe waits for a writer.
func read(name string, secret bool) ([]byte, error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file: only such are read", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	const (
		others = 0o027 // reading, writing and executing by others, writing by the group
		all    = 0o002 // writing by others
	)
	mode := info.Mode().Perm()
	switch {
	case runtime.GOOS == "windows":
	case secret && mode&others != 0:
		return nil, fmt.Errorf("%s has mode %#o: others may read or change it; chmod 600 it", name, mode)
	case mode&all != 0:
		return nil, fmt.Errorf("%s has mode %#o: others may change it; chmod o-w it", name, mode)
	}
	if info.Size() > MaxFile {
		return nil, fmt.Errorf("%s is longer than %d octets, the most that is read", name, MaxFile)
	}
	return io.ReadAll(io.LimitReader(f, MaxFile))
}
