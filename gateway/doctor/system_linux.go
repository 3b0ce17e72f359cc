package doctor

import "golang.org/x/sys/unix"

const getTermios = unix.TCGETS

// clockUnsynchronised asks the kernel whether a time service sets the clock.
func clockUnsynchronised() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0, err
}

// lookAtDisk looks at the file system that path is on.
func lookAtDisk(path string) (disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return disk{}, err
	}
	kind := uint32(st.Type) // which has another size on each processor
	return disk{
		free:   st.Bavail * uint64(st.Bsize),
		memory: kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC,
	}, nil
}
