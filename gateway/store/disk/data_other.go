//go:build !linux

package disk

import "os"

// preallocate does nothing here: the file just grows.
func preallocate(*os.File, int64) error { return nil }

// syncData makes the file durable; on macOS by F_FULLFSYNC, which empties the disk's cache.
func syncData(f *os.File) error { return f.Sync() }
