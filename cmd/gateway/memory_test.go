package main

import (
	"runtime/debug"
	"testing"
	"testing/fstest"
)

func files(text ...string) fstest.MapFS {
	root := fstest.MapFS{}
	for i := 0; i < len(text); i += 2 {
		root[text[i]] = &fstest.MapFile{Data: []byte(text[i+1])}
	}
	return root
}

func TestGroupMemory(t *testing.T) {
	for name, c := range map[string]struct {
		root fstest.MapFS
		want int64
	}{
		"no groups":                      {files(), 0},
		"no limit":                       {files("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/memory.max", "max\n"), 0},
		"version 2":                      {files("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max", "1000\n", "sys/fs/cgroup/a/memory.max", "2000\n"), 1000},
		"the group around it is smaller": {files("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max", "max\n", "sys/fs/cgroup/a/memory.max", "2000\n"), 2000},
		"in a container":                 {files("proc/self/cgroup", "0::/../../x\n", "sys/fs/cgroup/memory.max", "3000\n"), 3000},
		"version 1": {files("proc/self/cgroup", "5:cpu:/y\n4:memory:/x\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes", "4000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"), 4000},
		"version 1 without a limit": {files("proc/self/cgroup", "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"), 0},
		"nonsense":                  {files("proc/self/cgroup", "what\n0::/\n", "sys/fs/cgroup/memory.max", "-7\n"), 0},
	} {
		if got := groupMemory(c.root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestLimitMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	root := files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "1000000000\n")
	limitMemory(root, func(string) string { return "500MiB" })
	if got := debug.SetMemoryLimit(-1); got != before {
		t.Errorf("GOMEMLIMIT is set, and the limit became %d", got)
	}
	limitMemory(root, func(string) string { return "" })
	if got := debug.SetMemoryLimit(-1); got != 800000000 {
		t.Errorf("%d of 1000000000", got)
	}
}
