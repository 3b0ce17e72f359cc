package doctor

import "strings"

// port is a serial port of this machine.
type port struct {
	device string // such as /dev/ttyUSB0
	stable string // a name that stays the same, such as one in /dev/serial/by-id; or device
	about  string // the maker's name for it, or the driver's; may be empty
	// absent says that the kernel has it and /dev does not, as in a container.
	absent bool
}

// subject is such as "serial /dev/serial/by-id/usb-FTDI_… (ttyUSB0, FTDI FT232R)".
func (p port) subject() string {
	text := "serial " + foreign(p.stable)
	about := foreign(p.about)
	if p.stable != p.device {
		if about != "" {
			about = ", " + about
		}
		about = foreign(strings.TrimPrefix(p.device, "/dev/")) + about
	}
	if about != "" {
		text += " (" + about + ")"
	}
	return text
}

// flag is how to use it.
func (p port) flag() string { return "--serial " + quote(p.stable) }

// isAdapter reports whether a name in /dev is that of a port on USB.
func isAdapter(name string) bool {
	return strings.HasPrefix(name, "ttyUSB") || strings.HasPrefix(name, "ttyACM")
}

// isPseudo reports whether a device is one that a program plays, which often has it open
// itself.
func isPseudo(device string) bool { return strings.HasPrefix(device, "/dev/pts/") }
