//go:build !linux && !windows

package doctor

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

const getTermios = unix.TIOCGETA

// listPorts finds the serial ports by their names in /dev. It opens none.
func listPorts(s *system) []port {
	var ports []port
	for _, name := range s.names("/dev") {
		if strings.HasPrefix(name, "cu.") || strings.HasPrefix(name, "cuaU") {
			ports = append(ports, port{device: "/dev/" + name, stable: "/dev/" + name})
		}
	}
	return ports
}

// clockUnsynchronised cannot be told here.
func clockUnsynchronised() (bool, error) { return false, errors.ErrUnsupported }

// lookAtDisk is not known how to do here.
func lookAtDisk(string) (disk, error) { return disk{}, errors.ErrUnsupported }
