package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "psk")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	look := func(mode os.FileMode) Finding {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		return KeyFile("dtls.psk_file", file)
	}
	want(t, look(0o600), OK, "dtls.psk_file "+file)
	want(t, look(0o640), OK)
	for _, mode := range []os.FileMode{0o644, 0o660, 0o601} {
		want(t, look(mode), Fail, "others may read or change it (mode 0", "chmod 600 "+file)
	}
	want(t, KeyFile("dtls.psk_file", file+"x"), Fail, "there is no such file", "--set dtls.psk_file=FILE")
	want(t, KeyFile("dtls.psk_file", dir), Fail, "is a directory")
	want(t, KeyFile("dtls.psk_file", file+"/x"), Fail, "not a directory")
}

func TestStateDir(t *testing.T) {
	dir := t.TempDir()
	here := disk{free: 1 << 40}
	look := func(string) (disk, error) { return here, nil }
	mode := func(m os.FileMode) {
		if err := os.Chmod(dir, m); err != nil {
			t.Fatal(err)
		}
	}
	mode(0o700)
	want(t, one(t, stateDir(dir, look)), OK, "state directory "+dir)
	want(t, one(t, stateDir(dir, func(string) (disk, error) { return disk{}, errors.ErrUnsupported })), OK)
	mode(0o750)
	want(t, one(t, stateDir(dir, look)), Fail, "others may look into it (mode 0750)", "chmod 0700 "+dir)
	mode(0o700)
	here = disk{free: 3 << 20, memory: true}
	f := stateDir(dir, look)
	want(t, f[0], Warn, "tmpfs", "--state /var/lib/mqttsn-gateway")
	want(t, f[1], Warn, "only 3 MiB left")
	want(t, one(t, stateDir(dir+"/x/y", look)), OK, "makes it")
	want(t, one(t, stateDir("/proc/x y", look)), Fail, "does not exist", "sudo install -d -m 0700 -o ", "'/proc/x y'")
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, one(t, stateDir(dir+"/file", look)), Fail, "is not a directory")
	want(t, one(t, stateDir(dir+"/file/x", look)), Fail, "not a directory")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if f := StateDir(dir); len(f) == 0 || f[0].Status == Fail {
		t.Errorf("got %+v", f)
	}
	if err := tryWriting("/proc"); err == nil {
		t.Error("/proc was written to")
	}
	want(t, stateDir("/proc", look)[0], Fail, "cannot be written to", "findmnt")
}
