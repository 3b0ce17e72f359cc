package doctor

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// system is the machine that is looked at, and as whom.
type system struct {
	root   string // what every path hangs below; "" but in tests
	pid    int
	uid    int   // -1 where there are none
	groups []int // of this process
	// node looks at a device file, following links.
	node func(path string) (node, error)
	// open opens a serial port for a moment, the way the gateway does.
	open func(path string) error
	// ports lists the serial ports.
	ports func(s *system) []port
	now   func() time.Time
	// unsynchronised reports whether the kernel says that nobody sets the clock.
	unsynchronised func() (bool, error)
}

// node is a file's type and who may use it.
type node struct {
	mode     fs.FileMode
	uid, gid int // -1 where there are none
}

// host is this machine and this process.
func host() *system {
	groups, err := os.Getgroups()
	if err != nil {
		groups = nil
	}
	return &system{
		pid:            os.Getpid(),
		uid:            os.Geteuid(),
		groups:         append(groups, os.Getegid()),
		node:           portNode,
		open:           openPort,
		ports:          listPorts,
		now:            time.Now,
		unsynchronised: clockUnsynchronised,
	}
}

// path is where a file of the machine is.
func (s *system) path(elements ...string) string {
	return s.root + filepath.Join(elements...)
}

// maxFile is how much is read of one file, in octets: /proc/net/udp of a machine with
// 100,000 sockets is smaller.
const maxFile = 32 << 20

// read is the content of a file, "" if it cannot be read.
func (s *system) read(elements ...string) string {
	f, err := os.Open(s.path(elements...))
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return ""
	}
	return string(bytes.TrimRight(text, "\x00\n"))
}

// names are what is in a directory, sorted; none if it cannot be read.
func (s *system) names(elements ...string) []string {
	entries, err := os.ReadDir(s.path(elements...))
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// link is where a symbolic link points to, "" if it is none.
func (s *system) link(elements ...string) string {
	target, err := os.Readlink(s.path(elements...))
	if err != nil {
		return ""
	}
	return target
}

// resolve follows all links of a path, as far as it exists.
func (s *system) resolve(path string) string {
	end, err := filepath.EvalSymlinks(s.path(path))
	if err != nil {
		return filepath.Clean(path)
	}
	return strings.TrimPrefix(end, s.root)
}

func (s *system) exists(elements ...string) bool {
	_, err := os.Lstat(s.path(elements...))
	return err == nil
}

// user is the name and the primary group of a user, as /etc/passwd has it.
func (s *system) user(uid int) (name string, gid int, ok bool) {
	for fields := range s.table("passwd") {
		if len(fields) > 3 && fields[2] == strconv.Itoa(uid) {
			gid, err := strconv.Atoi(fields[3])
			return fields[0], gid, err == nil
		}
	}
	return "", -1, false
}

// userName is the name of a user, or its number.
func (s *system) userName(uid int) string {
	if name, _, ok := s.user(uid); ok {
		return name
	}
	return strconv.Itoa(uid)
}

// group is the name and the members of a group, as /etc/group has it.
func (s *system) group(gid int) (name string, members []string, ok bool) {
	for fields := range s.table("group") {
		if len(fields) > 3 && fields[2] == strconv.Itoa(gid) {
			return fields[0], strings.Split(fields[3], ","), true
		}
	}
	return "", nil, false
}

// table yields the lines of a file in /etc whose fields are separated by colons.
func (s *system) table(name string) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for line := range strings.Lines(s.read("/etc", name)) {
			if !yield(strings.Split(strings.TrimSpace(line), ":")) {
				return
			}
		}
	}
}
