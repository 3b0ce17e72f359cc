//go:build unix

package main

import (
	"io/fs"
	"syscall"
)

// fileNumber tells files apart that have replaced each other.
func fileNumber(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
