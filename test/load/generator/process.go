//go:build linux

package generator

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ is 100 on every architecture of ours.
const tick = 10 * time.Millisecond

// CPUTime is the time that a process has run, in user and kernel mode together.
func CPUTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is a name in brackets, and may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	return sumTicks(fields[11:13])
}

// MachineTime is the time that all CPUs together have been busy.
func MachineTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal
	if len(fields) < 9 {
		return 0, fmt.Errorf("/proc/stat: %q", line)
	}
	return sumTicks([]string{fields[1], fields[2], fields[3], fields[6], fields[7]})
}

func sumTicks(fields []string) (sum time.Duration, err error) {
	for _, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// usage is CPU time since some past instant.
type usage struct{ server, broker, own, machine time.Duration }

func (u usage) other() time.Duration { return u.machine - u.server - u.broker - u.own }

// usage reads the clocks of all who take part.
func (g *Generator) usage() (u usage, err error) {
	for _, c := range []struct {
		pid  int
		time *time.Duration
	}{{g.o.Server, &u.server}, {g.o.Broker, &u.broker}, {os.Getpid(), &u.own}} {
		if c.pid == 0 {
			continue
		}
		if *c.time, err = CPUTime(c.pid); err != nil {
			return usage{}, err
		}
	}
	u.machine, err = MachineTime()
	return u, err
}

// RSS is the memory of a process that is in RAM, in octets.
func RSS(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/%d/statm: %q", pid, text)
	}
	pages, err := strconv.Atoi(fields[1])
	return pages * os.Getpagesize(), err
}
