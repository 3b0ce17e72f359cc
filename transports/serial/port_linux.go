package serial

import (
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// exclusive reports whether a program has set TIOCEXCL on the device.
func (l lock) exclusive() bool {
	set, err := unix.IoctlGetInt(l.fd, unix.TIOCGEXCL)
	return err == nil && set != 0
}

// serialStruct is struct serial_struct of linux/serial.h.
type serialStruct struct {
	kind, line           int32
	port                 uint32
	irq, flags           int32
	xmitFIFO, divisor    int32
	baudBase             int32
	closeDelay           uint16
	ioType, reserved     byte
	hub6                 int32
	closingWait, waiting uint16
	iomemBase            uintptr
	iomemShift           uint16
	portHigh             uint32
	iomapBase            uintptr
}

// asyncLowLatency is ASYNC_LOW_LATENCY of linux/tty_flags.h.
const asyncLowLatency = 1 << 13

// lowLatency asks the driver not to gather octets. That of FTDI's adapters obeys either
// the flag or its own setting in sysfs, which udev may have made writable; the error says
// why neither could be had.
func (l lock) lowLatency(device string) error {
	errFlag := l.lowLatencyFlag()
	if errFlag == nil {
		return nil
	}
	target, err := filepath.EvalSymlinks(device)
	if err != nil {
		return err
	}
	setting := filepath.Join("/sys/class/tty", filepath.Base(target), "device/latency_timer")
	if err := os.WriteFile(setting, []byte("1"), 0o644); err != nil {
		return fmt.Errorf("TIOCSSERIAL: %w; %w", errFlag, err)
	}
	return nil
}

func (l lock) lowLatencyFlag() error {
	var s serialStruct
	if err := l.ioctl(unix.TIOCGSERIAL, &s); err != nil {
		return err
	}
	if s.flags&asyncLowLatency != 0 {
		return nil
	}
	s.flags |= asyncLowLatency
	return l.ioctl(unix.TIOCSSERIAL, &s)
}

func (l lock) ioctl(request uintptr, s *serialStruct) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), request, uintptr(unsafe.Pointer(s))); errno != 0 {
		return errno
	}
	return nil
}
