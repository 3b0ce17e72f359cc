package doctor

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// listPorts finds the serial ports that have hardware behind them: adapters on USB and
// UARTs on the board, in this order. It opens none.
func listPorts(s *system) []port {
	devices := make(map[string]bool) // whether /dev has it
	for _, name := range s.names("/sys/class/tty") {
		if s.hasHardware(name) {
			devices["/dev/"+name] = s.exists("/dev", name)
		}
	}
	for _, name := range s.names("/dev") { // where there is no /sys
		if isAdapter(name) || strings.HasPrefix(name, "ttyAMA") {
			devices["/dev/"+name] = true
		}
	}
	stable := s.stableNames()
	for device := range stable {
		devices[device] = true
	}
	var ports []port
	for device, there := range devices {
		if !there && !isAdapter(path.Base(device)) {
			continue // a container does not have the board's own, and does not need them
		}
		p := port{device: device, stable: device, about: s.about(path.Base(device)), absent: !there}
		if name := stable[device]; name != "" {
			p.stable = name
		}
		ports = append(ports, p)
	}
	slices.SortFunc(ports, func(a, b port) int {
		if x, y := isAdapter(path.Base(a.device)), isAdapter(path.Base(b.device)); x != y {
			if x {
				return -1
			}
			return 1
		}
		return strings.Compare(a.device, b.device)
	})
	return ports
}

// hasHardware reports whether a terminal is a serial port with hardware. The kernel has names
// for UARTs that are not there: their type is 0, or they hang on no device.
func (s *system) hasHardware(name string) bool {
	return strings.HasPrefix(name, "tty") &&
		s.link("/sys/class/tty", name, "device") != "" &&
		s.read("/sys/class/tty", name, "type") != "0"
}

// stableNames are the names that stay with a port, by its device: that of the adapter,
// else that of the socket it is in; and the board's name for its UART.
func (s *system) stableNames() map[string]string {
	stable := make(map[string]string)
	for _, dir := range []string{"/dev/serial/by-id", "/dev/serial/by-path"} {
		for _, name := range s.names(dir) {
			link := dir + "/" + name
			device := s.resolve(link)
			if device != link && stable[device] == "" {
				stable[device] = link
			}
		}
	}
	for _, link := range []string{"/dev/serial0", "/dev/serial1"} {
		if device := s.resolve(link); device != link && stable[device] == "" {
			stable[device] = link
		}
	}
	return stable
}

// about is what the hardware behind a port says of itself.
func (s *system) about(name string) string {
	dir, err := filepath.EvalSymlinks(s.path("/sys/class/tty", name, "device"))
	if err != nil {
		return ""
	}
	dir = strings.TrimPrefix(dir, s.root)
	driver := ""
	for ; strings.Count(dir, "/") > 2; dir = path.Dir(dir) {
		if s.exists(dir, "idVendor") {
			return s.aboutUSB(dir)
		}
		// "port" and "ctrl" are the kernel's own layers between a UART and its device.
		if d := path.Base(s.link(dir, "driver")); driver == "" && d != "." && d != "port" && d != "ctrl" {
			driver = d
		}
	}
	if driver == "" {
		return "built-in UART"
	}
	return "built-in UART, " + driver
}
