package faults

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPowerCut cuts the power of a disk while a process writes to a store on it: an ext4
// file system on a loop device is shut down so that nothing more reaches it, not even its
// journal (FS_IOC_SHUTDOWN), the process is killed, and the next one starts with what is
// there. No batch may be missing that was said to be durable, and each start must succeed.
//
// This needs root and loop devices. Without them the test tells so, and the tests on a
// simulated disk are what is left (TestSim in gateway/store/disk); the full form fails.
func TestPowerCut(t *testing.T) {
	r := newCutRig(t)
	if r == nil {
		return
	}
	l := r.cuts(dice(t), form(10, 1000), "honest")
	if l.lost > 0 || len(l.faults) > 0 {
		t.Errorf("%d batches lost that were said to be durable; %d times wrong: %q", l.lost, len(l.faults), l.faults[:min(len(l.faults), 8)])
	}
	if l.said == 0 {
		t.Error("no batch became durable")
	}
}

// TestPowerCutControl is the negative control: a writer that says "durable" too early loses.
func TestPowerCutControl(t *testing.T) {
	r := newCutRig(t)
	if r == nil {
		return
	}
	if l := r.cuts(dice(t), 10, "hasty"); l.lost == 0 {
		t.Error("nothing was lost that was not yet synced: these power cuts are none")
	}
}

// cutRig is a file system whose power can be cut.
type cutRig struct {
	t           *testing.T
	device, dir string
}

// newCutRig returns nil, and says why, where there can be none.
func newCutRig(t *testing.T) *cutRig {
	temp := t.TempDir()
	image := filepath.Join(temp, "image")
	r := &cutRig{t: t, dir: filepath.Join(temp, "disk")}
	err := func() error {
		if os.Geteuid() != 0 {
			return fmt.Errorf("not root")
		}
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			return err
		}
		if err := os.Truncate(image, 64<<20); err != nil {
			return err
		}
		if _, err := command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image); err != nil {
			return err
		}
		device, err := command("losetup", "--find", "--show", image)
		if err != nil {
			return err
		}
		r.device = strings.TrimSpace(device)
		t.Cleanup(func() { command("losetup", "--detach", r.device) })
		if err := os.Mkdir(r.dir, 0o700); err != nil {
			return err
		}
		// Its mounts are those of this thread and of the processes it starts. Others that
		// make a namespace meanwhile would take a mount along, which then lives on with
		// the file system as it was shut down. The thread ends with the test.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make the mounts private: %w", err)
		}
		if err := r.mount(); err != nil {
			return err
		}
		return r.unmount()
	}()
	if err == nil {
		return r
	}
	notice := "NO POWER CUTS here: " + err.Error() + "; the simulated disk was used instead: go test ./gateway/store/disk -run TestSim"
	if long {
		t.Fatal(notice)
	}
	t.Log(notice)
	fmt.Println(notice)
	return nil
}

func command(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return string(out), nil
}

func (r *cutRig) mount() error {
	if err := unix.Mount(r.device, r.dir, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", r.device, err)
	}
	return nil
}

func (r *cutRig) unmount() error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := unix.Unmount(r.dir, 0)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// cut shuts the file system down at once, without flushing its journal.
func (r *cutRig) cut() error {
	const (
		shutdown   = 0x8004587d // FS_IOC_SHUTDOWN
		noLogFlush = 2
	)
	d, err := os.Open(r.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.IoctlSetPointerInt(int(d.Fd()), shutdown, noLogFlush)
}

// freeze stops a process: without power it does not get to know how a sync has ended that
// was going on. Such a sync may return nil although the file system was shut down meanwhile,
// if ext4 did not get to mark the blocks as written.
func freeze(p *os.Process) {
	if p.Signal(unix.SIGSTOP) != nil {
		return // it has ended
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
		_, state, _ := strings.Cut(string(stat), ") ")
		if err != nil || state == "" || strings.ContainsRune("TZX", rune(state[0])) {
			return
		}
	}
}

// cuts has writers run one after another, each until its power is cut.
func (r *cutRig) cuts(random *rand.Rand, times int, mode string) *cutLedger {
	r.t.Helper()
	l := &cutLedger{}
	start := time.Now()
	for range times {
		r.life(l, mode, random)
	}
	r.life(l, "reader", random)
	r.t.Logf("%d power cuts in %v (%s): %d starts, %d batches said to be durable, %d lost",
		times, time.Since(start).Round(time.Millisecond), mode, l.starts, l.said, l.lost)
	return l
}

// life is that of one writer. A reader's ends by itself.
func (r *cutRig) life(l *cutLedger, mode string, random *rand.Rand) {
	r.t.Helper()
	if err := r.mount(); err != nil {
		r.t.Fatal(err)
	}
	defer func() {
		if err := r.unmount(); err != nil {
			r.t.Fatal(err)
		}
	}()
	writer := exec.Command(os.Args[0], "-test.run=^TestPowerCutWriter$")
	writer.Env = append(os.Environ(), "POWERCUT_WRITER="+mode, "POWERCUT_DIR="+filepath.Join(r.dir, "state"),
		"TMPDIR="+r.t.TempDir(), "FAULTS_BINARY=none") // it starts no gateway
	out, err := writer.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		r.t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { writer.Process.Kill() })
	defer timer.Stop()

	started := make(chan struct{})
	done := make(chan struct{})
	var dark atomic.Bool // from then on it may say that it can do nothing
	finished := false
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if l.line(lines.Text(), dark.Load()) {
				finished = true
				close(started)
			}
		}
	}()
	if mode != "reader" {
		// One in eight is cut while it starts, the others after it has.
		wait := time.Duration(random.IntN(40_000)) * time.Microsecond
		if random.IntN(8) > 0 {
			select {
			case <-started:
			case <-done:
			}
		}
		select {
		case <-time.After(wait):
		case <-done:
		}
		dark.Store(true)
		freeze(writer.Process)
		if err := r.cut(); err != nil {
			r.t.Fatal(err)
		}
		writer.Process.Kill()
	}
	<-done
	if err := writer.Wait(); mode == "reader" && (err != nil || !finished) {
		l.faults = append(l.faults, fmt.Sprintf("the last start: %v, found something: %t", err, finished))
	}
}
