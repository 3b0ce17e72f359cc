package doctor

import "strings"

// chips are USB serial adapters by vendor and product, with the driver that makes a port
// of them.
var chips = map[string]string{
	"0403:6001": "ftdi_sio", "0403:6010": "ftdi_sio", "0403:6011": "ftdi_sio", "0403:6014": "ftdi_sio", "0403:6015": "ftdi_sio",
	"10c4:ea60": "cp210x", "10c4:ea70": "cp210x", "10c4:ea71": "cp210x",
	"1a86:7523": "ch341", "1a86:5523": "ch341", "1a86:7522": "ch341",
	"067b:2303": "pl2303", "067b:23a3": "pl2303", "067b:23c3": "pl2303",
}

// portless finds adapters that are plugged in and have no port: without a driver, or
// taken by a program before it came to that, as brltty does with some.
func (s *system) portless() []trouble {
	const bus = "/sys/bus/usb/devices"
	var all []trouble
	for _, device := range s.names(bus) {
		driver, known := chips[s.read(bus, device, "idVendor")+":"+s.read(bus, device, "idProduct")]
		if !known || s.hasPort(bus+"/"+device, device) {
			continue
		}
		t := trouble{
			cause: "a USB serial adapter is plugged in (" + foreign(s.aboutUSB(bus+"/"+device)) + "), but it has no port",
			fixes: []string{"load its driver, and if that fails install the kernel's extra modules: sudo modprobe " + driver},
		}
		if s.runs("brltty") {
			t.cause += ": brltty has taken it for a braille display"
			t.fixes = []string{culprits["brltty"].fix + ", then plug the adapter in again"}
		}
		all = append(all, t)
	}
	return all
}

// hasPort reports whether an interface of a USB device is a serial port.
func (s *system) hasPort(dir, device string) bool {
	for _, name := range s.names(dir) {
		if !strings.HasPrefix(name, device+":") {
			continue
		}
		for _, below := range s.names(dir, name) {
			if strings.HasPrefix(below, "tty") {
				return true
			}
		}
	}
	return false
}

// runs reports whether a program of that name is running.
func (s *system) runs(name string) bool {
	for _, pid := range s.pids() {
		if s.process(pid).name == name {
			return true
		}
	}
	return false
}

// aboutUSB is what a USB device says of itself.
func (s *system) aboutUSB(dir string) string {
	text := strings.TrimSpace(s.read(dir, "manufacturer") + " " + s.read(dir, "product"))
	if text == "" {
		text = "USB " + s.read(dir, "idVendor") + ":" + s.read(dir, "idProduct")
	}
	return text
}
