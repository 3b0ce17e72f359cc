package doctor

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// files is a machine: content by path. A content that begins with "-> " makes a symbolic
// link.
type files map[string]string

// plus is the machine with more on it.
func (f files) plus(more files) files {
	all := files{}
	for _, m := range []files{f, more} {
		for path, content := range m {
			all[path] = content
		}
	}
	return all
}

// machine is a system whose files are in a directory of the test, looked at by process
// 100 of the user pi (1000), who is in the groups pi (1000) and users (100). All in /dev
// is a serial port of root and the group dialout (20), 0660, that opens unless refusals
// say otherwise.
type machine struct {
	*system
	nodes    map[string]node
	refusals map[string]error
	opened   []string
}

func newMachine(t *testing.T, tree files) *machine {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	base := files{
		"/etc/passwd":       "root:x:0:0:root:/root:/bin/sh\npi:x:1000:1000::/home/pi:/bin/sh\n",
		"/etc/group":        "root:x:0:\ntty:x:5:\ndialout:x:20:\nusers:x:100:pi\npi:x:1000:\n",
		"/proc/1/comm":      "systemd\n",
		"/proc/1/fd/0":      "-> /dev/null",
		"/proc/100/comm":    "gateway\n",
		"/proc/100/exe":     "-> /usr/bin/gateway",
		"/proc/100/cgroup":  "0::/user.slice/user-1000.slice/session-3.scope\n",
		"/proc/100/fd/0":    "-> /dev/pts/0",
		"/proc/self/cgroup": "0::/user.slice/user-1000.slice/session-3.scope\n",
		"/proc/cmdline":     "quiet root=/dev/mmcblk0p2\n",
	}
	for path, content := range base.plus(tree) {
		file := root + path
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	m := &machine{nodes: map[string]node{}, refusals: map[string]error{}}
	m.system = &system{
		root:   root,
		pid:    100,
		uid:    1000,
		groups: []int{100, 1000},
		ports:  listPorts,
		now:    func() time.Time { return time.Date(2027, 5, 1, 12, 0, 0, 0, time.UTC) },
	}
	m.node = func(path string) (node, error) {
		if _, err := os.Stat(path); err != nil {
			return node{}, err
		}
		if n, ok := m.nodes[strings.TrimPrefix(path, root)]; ok {
			return n, nil
		}
		return node{mode: fs.ModeDevice | fs.ModeCharDevice | 0o660, gid: 20}, nil
	}
	m.open = func(path string) error {
		path = strings.TrimPrefix(path, root)
		m.opened = append(m.opened, path)
		return m.refusals[path]
	}
	m.unsynchronised = func() (bool, error) { return false, nil }
	return m
}

// refuse makes a device one that the user may not open.
func (m *machine) refuse(device string, n node) *machine {
	n.mode |= fs.ModeDevice | fs.ModeCharDevice
	m.nodes[device] = n
	m.refusals[device] = syscall.EACCES
	return m
}

// want checks a finding: its status and what its text and fixes contain, in this order.
func want(t *testing.T, f Finding, status Status, parts ...string) {
	t.Helper()
	text := f.Subject + ": " + f.Text + "\n" + strings.Join(f.Fixes, "\n")
	rest, ok := text, f.Status == status
	for _, part := range parts {
		var found bool
		_, rest, found = strings.Cut(rest, part)
		ok = ok && found
	}
	if !ok {
		t.Errorf("got %s %s\nwant %s with %q", f.Status, text, status, parts)
	}
}

// not checks that a finding does not contain a text.
func not(t *testing.T, f Finding, part string) {
	t.Helper()
	if strings.Contains(f.Text, part) || slices.ContainsFunc(f.Fixes, func(fix string) bool { return strings.Contains(fix, part) }) {
		t.Errorf("got %+v, do not want %q", f, part)
	}
}

// one is the only finding.
func one(t *testing.T, findings []Finding) Finding {
	t.Helper()
	if len(findings) != 1 {
		t.Fatalf("got %d findings, want one: %+v", len(findings), findings)
	}
	return findings[0]
}
