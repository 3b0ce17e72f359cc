package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// KeyFile looks at a file with a secret, a key or a password, for the option that names
// it, such as "dtls.psk_file": it has to be readable by this process, and by nobody but
// its owner and group.
func KeyFile(option, path string) Finding {
	subject := option + " " + path
	fail := func(text string, fixes ...string) Finding {
		return Finding{Status: Fail, Subject: subject, Text: text, Fixes: fixes}
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail("there is no such file", "name one that there is: --set "+option+"=FILE")
	case errors.Is(err, fs.ErrPermission):
		s := host()
		return fail("this user may not read it", "let the user's group do so: sudo chgrp "+quote(s.groupName())+" "+quote(path)+" && sudo chmod 640 "+quote(path))
	case err != nil:
		return fail(err.Error())
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fail(err.Error())
	}
	const others, groupWrites = 0o007, 0o020
	switch mode := info.Mode(); {
	case mode.IsDir():
		return fail("is a directory, not a file", "name a file: --set "+option+"=FILE")
	case runtime.GOOS == "windows": // modes say nothing there
	case mode.Perm()&(others|groupWrites) != 0:
		return fail(fmt.Sprintf("others may read or change it (mode %04o)", mode.Perm()), "keep it to its owner: chmod 600 "+quote(path))
	}
	return Finding{Status: OK, Subject: subject, Text: "can be read, and by no others"}
}

// groupName is the group of this process, for a command.
func (s *system) groupName() string {
	if len(s.groups) > 0 {
		if name, _, ok := s.group(s.groups[len(s.groups)-1]); ok {
			return name
		}
	}
	return "GROUP"
}

// StateDir looks at the directory in which the gateway keeps what has to survive a
// restart. It has to be writable for this user and closed to others, and should be on a disk
// that has room. If it is missing the gateway makes it.
func StateDir(path string) []Finding { return stateDir(path, lookAtDisk) }

// disk is the file system that a directory is on.
type disk struct {
	free   uint64 // octets that this user may write
	memory bool   // what is on it is gone after a restart of the machine
}

// lowSpace is how many octets free are few.
const lowSpace = 64 << 20

func stateDir(path string, look func(path string) (disk, error)) []Finding {
	subject := "state directory " + path
	one := func(status Status, text string, fixes ...string) []Finding {
		return []Finding{{Status: status, Subject: subject, Text: text, Fixes: fixes}}
	}
	dir := quote(path)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && mayMake(path):
		return one(OK, "does not exist yet: the gateway makes it")
	case errors.Is(err, fs.ErrNotExist):
		return one(Fail, "does not exist, and this user cannot make it", "make it: sudo install -d -m 0700 -o "+quote(host().me())+" "+dir)
	case err != nil:
		return one(Fail, err.Error(), "give it to this user: sudo chown -R "+quote(host().me())+" "+dir)
	case !info.IsDir():
		return one(Fail, "is not a directory", "choose one: --state DIR")
	}
	var findings []Finding
	add := func(status Status, text string, fixes ...string) {
		findings = append(findings, one(status, text, fixes...)...)
	}
	if err := tryWriting(path); errors.Is(err, fs.ErrPermission) {
		add(Fail, "this user may not write there", "give it to this user: sudo chown -R "+quote(host().me())+" "+dir)
	} else if err != nil {
		add(Fail, "cannot be written to: "+err.Error(), "see what it is on: df -h "+dir, "see whether that is writable: findmnt -T "+dir)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		add(Fail, fmt.Sprintf("others may look into it (mode %04o)", mode), "keep it to its owner: sudo chmod 0700 "+dir)
	}
	if d, err := look(path); err == nil {
		if d.memory {
			add(Warn, "is in memory (tmpfs): what is kept there is gone when the machine restarts", "choose one on a disk: --state /var/lib/mqttsn-gateway")
		}
		if d.free < lowSpace {
			add(Warn, fmt.Sprintf("has only %d MiB left", d.free>>20), "see what takes the space: sudo du -xh --max-depth=2 / | sort -h | tail")
		}
	}
	if findings == nil {
		return one(OK, "can be written, and by no others")
	}
	return findings
}

// mayMake reports whether this user can make a directory with that path.
func mayMake(path string) bool {
	for parent := filepath.Dir(path); ; parent = filepath.Dir(parent) {
		if _, err := os.Stat(parent); err == nil {
			return tryWriting(parent) == nil
		} else if !errors.Is(err, fs.ErrNotExist) || parent == filepath.Dir(parent) {
			return false
		}
	}
}

// tryWriting makes a file there and removes it.
func tryWriting(dir string) error {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
			return pe.Err
		}
		return err
	}
	_, err = f.WriteString("x")
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(filepath.Join(dir, filepath.Base(f.Name()))))
}

// me is this user's name, for a command.
func (s *system) me() string { return s.userName(s.uid) }
