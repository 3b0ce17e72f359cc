package main

import (
	"io/fs"
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// maxStack bounds the stack of a goroutine, in octets: whatever a peer sends, more is a mistake
// that had better end the process than use up the machine. Go's own bound is 1 GB.
const maxStack = 16 << 20

// limitMemory has Go's runtime collect earlier when the process comes near 80 % of what its
// control group may use, so that it is not killed for garbage. GOMEMLIMIT counts more. root is
// the root of the file system.
func limitMemory(root fs.FS, getenv func(string) string) {
	debug.SetMaxStack(maxStack)
	if limit := groupMemory(root); limit > 0 && getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit / 5 * 4)
	}
}

// groupMemory is how many octets the control group of this process may use, of version 1 or 2;
// 0 if there is no limit.
func groupMemory(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(text)) {
		// ID:CONTROLLERS:PATH; without controllers it is version 2.
		field := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(field) != 3 {
			continue
		}
		dir, name := "sys/fs/cgroup", "memory.max"
		if field[1] == "memory" {
			dir, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if field[1] != "" {
			continue
		}
		// A group is bound by those around it, too. In a container the path may be that of
		// the host, and only the innermost is to be seen, at the top.
		for group := path.Clean("/" + field[2]); ; group = path.Dir(group) {
			if n, ok := readLimit(root, path.Join(dir, group, name)); ok {
				least = min(least, n)
			}
			if group == "/" {
				break
			}
		}
	}
	const none = 1 << 60 // version 1 has a number near 1<<63 for no limit
	if least >= none {
		return 0
	}
	return least
}

func readLimit(root fs.FS, name string) (octets int64, ok bool) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	octets, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64) // or "max"
	return octets, err == nil && octets > 0
}
