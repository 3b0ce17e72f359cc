package doctor

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// process is a running program.
type process struct {
	pid  int
	name string // as the kernel has it: at most 15 characters
	unit string // of systemd, such as "mosquitto.service"; "" if it is no service
	own  bool   // this very process
	twin bool   // another process of this program
}

// String is such as "mosquitto (pid 512, mosquitto.service)".
func (p process) String() string {
	text := fmt.Sprintf("%s (pid %d", p.name, p.pid)
	if p.unit != "" {
		text += ", " + p.unit
	}
	return text + ")"
}

// stop is the command that ends the process.
func (p process) stop() string {
	if p.unit != "" {
		return "stop it: sudo systemctl disable --now " + quote(p.unit)
	}
	return "stop it: sudo kill " + strconv.Itoa(p.pid)
}

// maxListed bounds how many processes are named.
const maxListed = 4

// listed is several of them.
func listed(all []process) string {
	var texts []string
	for _, p := range all[:min(len(all), maxListed)] {
		texts = append(texts, p.String())
	}
	if more := len(all) - maxListed; more > 0 {
		texts = append(texts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(texts, " and ")
}

// pids are the processes that there are.
func (s *system) pids() []int {
	var pids []int
	for _, name := range s.names("/proc") {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// process looks at one of them.
func (s *system) process(pid int) process {
	dir := "/proc/" + strconv.Itoa(pid)
	p := process{pid: pid, name: foreign(s.read(dir, "comm")), unit: s.unit(dir), own: pid == s.pid}
	self := "/proc/" + strconv.Itoa(s.pid)
	if exe := s.link(dir, "exe"); exe != "" {
		p.twin = !p.own && exe == s.link(self, "exe")
	} else { // only root may see the programs of others
		p.twin = !p.own && p.name == foreign(s.read(self, "comm"))
	}
	return p
}

// unit is the systemd service that a process belongs to, by its control group.
func (s *system) unit(dir string) string {
	for line := range strings.Lines(s.read(dir, "cgroup")) {
		_, group, _ := strings.Cut(line, ":")
		_, group, _ = strings.Cut(group, ":")
		name := path.Base(strings.TrimSpace(group))
		if strings.HasSuffix(name, ".service") && !strings.HasPrefix(name, "user@") {
			return foreign(name)
		}
	}
	return ""
}

// openFiles is which processes have which files open, as far as this one may see.
type openFiles struct {
	system *system
	by     map[string][]int // by the file's name in /proc/PID/fd
	hidden bool             // there are processes whose files cannot be seen
}

// openFiles looks at the open files of all processes, and keeps those that are wanted.
func (s *system) openFiles(wanted func(target string) bool) openFiles {
	o := openFiles{system: s, by: make(map[string][]int)}
	pids := s.pids()
	o.hidden = !slices.Contains(pids, 1) // no /proc, or one that shows only our own
	for _, pid := range pids {
		dir := s.path("/proc", strconv.Itoa(pid), "fd")
		entries, err := os.ReadDir(dir)
		if err != nil {
			o.hidden = o.hidden || !os.IsNotExist(err) // it may have ended
			continue
		}
		for _, e := range entries {
			target, err := os.Readlink(dir + "/" + e.Name())
			if err == nil && wanted(target) && !slices.Contains(o.by[target], pid) {
				o.by[target] = append(o.by[target], pid)
			}
		}
	}
	return o
}

// holders are the processes that have a file open, those of other programs first.
func (o openFiles) holders(target string) []process {
	var all []process
	for _, pid := range o.by[target] {
		all = append(all, o.system.process(pid))
	}
	slices.SortStableFunc(all, func(a, b process) int { return cmp.Compare(a.rank(), b.rank()) })
	return all
}

func (p process) rank() int {
	switch {
	case p.own:
		return 2
	case p.twin:
		return 1
	}
	return 0
}
