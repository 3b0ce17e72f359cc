package doctor

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

// socketTrouble finds out why a unix socket cannot be listened at; nil if there is nothing
// to say about it.
func (s *system) socketTrouble(l Listener, err error) *trouble {
	dir := filepath.Dir(l.Addr)
	other := "choose another path: " + l.Flag + " unix:PATH"
	switch {
	case errors.Is(err, errInUse):
		return s.socketTaken(l, other)
	case errors.Is(err, syscall.ENOTSOCK):
		return &trouble{
			cause: "there is a file that is no socket, which the gateway does not remove",
			fixes: []string{"look at it: ls -l " + quote(l.Addr), "or " + other},
		}
	case errors.Is(err, fs.ErrNotExist):
		t := &trouble{cause: "there is no directory " + foreign(dir)}
		if unit := s.service(); unit != "" && strings.HasPrefix(dir, "/run/") {
			t.fixes = []string{"have the service make it: sudo systemctl edit " + quote(unit) + ", write [Service] and RuntimeDirectory=" +
				strings.TrimPrefix(dir, "/run/") + ", then sudo systemctl restart " + quote(unit)}
		} else {
			t.fixes = []string{"make it: sudo install -d -o " + quote(s.userName(s.uid)) + " " + quote(dir)}
		}
		t.fixes = append(t.fixes, "or "+other)
		return t
	case errors.Is(err, syscall.ENOTDIR):
		return &trouble{cause: foreign(dir) + " is in the way: it is, or is below, a file that is no directory", fixes: []string{other}}
	case errors.Is(err, fs.ErrPermission):
		return &trouble{
			cause: "this user may not make a socket in " + foreign(dir) + ", or may not connect to the one that is there",
			fixes: []string{"give the directory to this user: sudo chown " + quote(s.userName(s.uid)) + " " + quote(dir), "or " + other},
		}
	}
	return nil
}

// socketTaken is for a unix socket that somebody listens at.
func (s *system) socketTaken(l Listener, other string) *trouble {
	all := s.holders(s.unixBindings(l.Addr))
	switch {
	case len(all) > 0 && all[0].own:
		return &trouble{cause: "the gateway itself listens there already: the path is given twice", fixes: []string{"remove one of them, or " + other}}
	case len(all) > 0 && all[0].twin:
		return &trouble{
			cause:   "a gateway that is running has this socket: " + listed(all),
			fixes:   []string{all[0].stop(), "or, for a second gateway, " + other},
			running: true,
		}
	case len(all) > 0:
		return &trouble{cause: listed(all) + " has this socket", fixes: []string{all[0].stop(), "or " + other}}
	}
	return &trouble{
		cause: "another program has this socket",
		fixes: []string{"see which: sudo lsof " + quote(l.Addr), "or " + other},
	}
}

// unixBindings are the sockets with that path.
func (s *system) unixBindings(path string) []binding {
	var all []binding
	for line := range strings.Lines(s.read("/proc/net/unix")) {
		// Num RefCount Protocol Flags Type St Inode Path
		f := strings.Fields(line)
		if len(f) > 7 && strings.HasSuffix(strings.TrimRight(line, "\n"), " "+path) {
			all = append(all, binding{inode: f[6], uid: -1})
		}
	}
	return all
}
