package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// preallocate takes the space for a file, so that writing to it neither runs out of space
// nor changes its size. Where the file system cannot do that the file just grows.
func preallocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return nil
		default:
			return err
		}
	}
}

// syncData makes data and size durable, without waiting for the times of the file.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
