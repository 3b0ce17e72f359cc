package serial

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"

	"go.bug.st/serial"

	"mqttsn-gateway/transports"
)

// Why a device does not open, besides fs.ErrNotExist and fs.ErrPermission. The errors of
// Open and Probe, and those given to explain, wrap one of them where the reason is known.
var (
	// ErrInUse says that another program has the port. It is syscall.EBUSY too.
	ErrInUse error = &openFailure{"another program has the port", syscall.EBUSY}
	// ErrNotSerial says that the device is no serial port, or one that does not take these
	// settings. It is syscall.ENOTTY too.
	ErrNotSerial error = &openFailure{"it is no serial port, or does not take these settings", syscall.ENOTTY}
	// ErrSpeed says that the adapter cannot do this speed. It is syscall.EINVAL too.
	ErrSpeed error = &openFailure{"the port cannot do this speed", syscall.EINVAL}
	// ErrDescriptors says that the process has so many files open that the port got a
	// descriptor above 1023, for which the library cannot wait. It is syscall.EMFILE too.
	ErrDescriptors error = &openFailure{"too many connections are open: the port got a file descriptor above 1023", syscall.EMFILE}
)

// openFailure is a reason with the system's nearest word for it.
type openFailure struct {
	text string
	like syscall.Errno
}

func (e *openFailure) Error() string { return e.text }
func (e *openFailure) Unwrap() error { return e.like }

// openError puts the library's errors into words of this package.
func openError(err error) error {
	var failed *serial.PortError
	if !errors.As(err, &failed) {
		return err
	}
	switch failed.Code() {
	case serial.PortBusy:
		return ErrInUse
	case serial.PortNotFound:
		return fs.ErrNotExist
	case serial.PermissionDenied:
		return fs.ErrPermission
	case serial.InvalidSpeed:
		return ErrSpeed
	case serial.InvalidSerialPort:
		return fmt.Errorf("%w (%w)", ErrNotSerial, err)
	default:
		return err
	}
}

// Why a line went down.
var (
	errUnplugged = errors.New("the device is gone")
	errStuck     = errors.New("the device takes no octets any more")
)

// reason is why a datagram or frame was dropped.
type reason int

const (
	taken reason = iota // not dropped
	queueFull
	nodeQueueFull
	oversize
	unknownPeer
	lineDown
	transmitFailed
	noStatus
	checksum
	malformed
	tooLong
	unused
	reasons
)

// reasonNames are the names of drops in Stats and metrics.
var reasonNames = [reasons]string{
	queueFull:      "queue_full",
	nodeQueueFull:  "node_queue_full",
	oversize:       "oversize",
	unknownPeer:    "unknown_peer",
	lineDown:       "line_down",
	transmitFailed: "transmit_failed",
	noStatus:       "no_status",
	checksum:       "checksum",
	malformed:      "malformed",
	tooLong:        "too_long",
	unused:         "unused",
}

var (
	errOversize    = errors.New("serial: the packet is longer than max_payload")
	errUnknownPeer = errors.New("serial: there is no such peer on this line")
	errServed      = errors.New("serial: the link is served already")
)

// err is what Send says about a datagram that was dropped.
func (r reason) err() error {
	switch r {
	case taken:
		return nil
	case oversize:
		return errOversize
	case unknownPeer:
		return errUnknownPeer
	default:
		return transports.ErrBusy
	}
}

// first keeps the first of several errors.
func first(err, next error) error {
	if err != nil {
		return err
	}
	return next
}

// errClosed is what Send says after Close.
var errClosed = net.ErrClosed
