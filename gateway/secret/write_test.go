package secret

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestCreate(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := Create(name, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := Create(name, []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that is there: %v", err)
	}
	if text, err := Read(name); err != nil || string(text) != "one" {
		t.Errorf("%q %v", text, err)
	}
}

// What is replaced stays readable for those who could read it, others excepted, also behind
// a symbolic link; nothing else is left in the directory.
func TestReplace(t *testing.T) {
	for old, want := range map[os.FileMode]os.FileMode{0o600: 0o600, 0o640: 0o640, 0o644: 0o640, 0o666: 0o640, 0o400: 0o600} {
		name := write(t, "one", old)
		link := filepath.Join(filepath.Dir(name), "link")
		if err := os.Symlink(name, link); err != nil {
			t.Fatal(err)
		}
		if err := Replace(link, []byte("two")); err != nil {
			t.Fatal(err)
		}
		text, err := Read(name)
		info, _ := os.Lstat(link)
		if err != nil || string(text) != "two" || info.Mode().Type() != fs.ModeSymlink {
			t.Errorf("mode %o: %q %v, link %v", old, text, err, info.Mode())
		}
		if info, _ := os.Stat(name); info.Mode().Perm() != want && runtime.GOOS != "windows" {
			t.Errorf("mode %o becomes %o", old, info.Mode().Perm())
		}
		if all, _ := os.ReadDir(filepath.Dir(name)); len(all) != 2 {
			t.Errorf("left behind: %v", all)
		}
	}
	if err := Replace(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := Replace(t.TempDir(), nil); err == nil {
		t.Error("a directory is replaced")
	}
}
