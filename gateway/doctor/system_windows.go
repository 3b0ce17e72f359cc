package doctor

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// What the system says about addresses that cannot be had.
const (
	errInUse        = windows.WSAEADDRINUSE
	errForbidden    = windows.WSAEACCES
	errNotAvailable = windows.WSAEADDRNOTAVAIL
	errRefused      = windows.WSAECONNREFUSED
)

// listPorts finds the COM ports that drivers have announced. It opens none.
func listPorts(*system) []port {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `HARDWARE\DEVICEMAP\SERIALCOMM`, registry.QUERY_VALUE)
	if err != nil {
		return nil
	}
	defer key.Close()
	drivers, err := key.ReadValueNames(0)
	if err != nil {
		return nil
	}
	var ports []port
	for _, driver := range drivers {
		if name, _, err := key.GetStringValue(driver); err == nil {
			ports = append(ports, port{device: name, stable: name, about: driver})
		}
	}
	slices.SortFunc(ports, func(a, b port) int { return strings.Compare(a.device, b.device) })
	return ports
}

// portNode looks at a serial port, which has no file here.
func portNode(path string) (node, error) {
	for _, p := range listPorts(nil) {
		if strings.EqualFold(p.device, strings.TrimPrefix(path, `\\.\`)) {
			return node{mode: fs.ModeDevice | fs.ModeCharDevice, uid: -1, gid: -1}, nil
		}
	}
	return node{}, fs.ErrNotExist
}

// openPort opens a serial port for a moment. That access is denied means here that
// another program has it.
func openPort(path string) error {
	name, err := windows.UTF16PtrFromString(`\\.\` + strings.TrimPrefix(path, `\\.\`))
	if err != nil {
		return err
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE, 0, nil, windows.OPEN_EXISTING, 0, 0)
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return syscall.EBUSY
	}
	if err != nil {
		return err
	}
	return windows.CloseHandle(h)
}

// owner is unknown: rights are not by users and groups here.
func owner(fs.FileInfo) (uid, gid int) { return -1, -1 }

// clockUnsynchronised cannot be told here.
func clockUnsynchronised() (bool, error) { return false, errors.ErrUnsupported }

// lookAtDisk is not known how to do here.
func lookAtDisk(string) (disk, error) { return disk{}, errors.ErrUnsupported }
