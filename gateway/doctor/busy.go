package doctor

import (
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
)

// culprits are programs that take serial ports without being asked to.
var culprits = map[string]struct{ why, fix string }{
	"ModemManager": {"it looks for modems on every serial port", "keep it off: sudo systemctl disable --now ModemManager.service"},
	"brltty":       {"it takes adapters for braille displays", "keep it off: sudo systemctl mask --now brltty.service brltty-udev.service"},
	"gpsd":         {"it looks for GPS receivers", "keep it off: sudo systemctl disable --now gpsd.socket gpsd.service"},
	"hciattach":    {"it is Bluetooth's", bluetoothFix},
	"btattach":     {"it is Bluetooth's", bluetoothFix},
}

const bluetoothFix = "use another UART, or on a Raspberry Pi do without Bluetooth: echo dtoverlay=disable-bt | sudo tee -a /boot/firmware/config.txt && sudo systemctl disable --now hciuart.service, then reboot"

// held is the trouble with the programs that have a port open; nil if none is seen to.
// Two programs can have a port open if neither objects: each then gets a part of what is
// received.
func (s *system) held(device string, files openFiles) *trouble {
	all := slices.DeleteFunc(files.holders(device), func(p process) bool { return p.own })
	if len(all) == 0 {
		return nil
	}
	t := &trouble{cause: "in use by " + listed(all), running: all[0].twin}
	if t.running {
		t.cause = "in use by a gateway that is running: " + listed(all)
	}
	for _, p := range all[:min(len(all), maxListed)] {
		if c, known := culprits[p.name]; known {
			t.cause += " (" + c.why + ")"
			t.fixes = append(t.fixes, c.fix)
		} else {
			t.fixes = append(t.fixes, p.stop())
		}
	}
	return t
}

// busy is for a port that another program has, which may not be seen.
func (s *system) busy(device string, files openFiles) *trouble {
	if t := s.held(device, files); t != nil {
		return t
	}
	t := &trouble{cause: "in use by another program"}
	switch {
	case runtime.GOOS == "windows":
		t.fixes = []string{"close the program that has it, such as a serial monitor"}
	case runtime.GOOS != "linux":
		t.fixes = []string{"see which: sudo lsof " + quote(device)}
	case files.hidden:
		t.cause += ", which only root can see"
		t.fixes = []string{"see which: sudo gateway doctor"}
	}
	return t
}

// gettys are the programs that wait for somebody to log in, and what they become.
var gettys = []string{"agetty", "getty", "mgetty", "mingetty", "login"}

// getty is the trouble with a login console on the port; nil if there is none. Its
// process is found by its service, by what it was started with, or by its open files,
// which only root can see.
func (s *system) getty(name string, holders []process) *trouble {
	unit := "serial-getty@" + name + ".service"
	for _, pid := range s.pids() {
		dir := fmt.Sprintf("/proc/%d", pid)
		if s.unit(dir) != unit && !slices.Contains(gettys, s.read(dir, "comm")) {
			continue
		}
		p := s.process(pid)
		args := strings.Split(s.read(dir, "cmdline"), "\x00")
		if p.unit != unit && !slices.Contains(args, name) && !slices.Contains(args, "/dev/"+name) &&
			!slices.ContainsFunc(holders, func(h process) bool { return h.pid == pid }) {
			continue
		}
		fix := "switch it off: sudo systemctl disable --now " + quote(unit)
		if p.unit == "" && !s.exists("/run/systemd/system") {
			fix = "switch it off: remove the line with " + name + " from /etc/inittab, then sudo kill -HUP 1"
		}
		t := &trouble{cause: "a login console has it: " + p.String(), fixes: []string{fix}}
		if slices.Contains(s.consoles(), name) {
			t.fixes = append(t.fixes, s.consoleFix(name, "or the console is back after the next boot"))
		}
		return t
	}
	return nil
}

// consoleTrouble is for a port that opens, but to which the kernel writes its messages.
func (s *system) consoleTrouble(name string) *trouble {
	if !slices.Contains(s.consoles(), name) {
		return nil
	}
	return &trouble{
		cause: "opens, but the kernel writes its own messages to it (console= in its command line)",
		fixes: []string{s.consoleFix(name, "if the port is to carry MQTT-SN")},
	}
}

// consoles are the terminals that the kernel's command line names.
func (s *system) consoles() []string {
	var names []string
	for word := range strings.FieldsSeq(s.read("/proc/cmdline")) {
		if value, ok := strings.CutPrefix(word, "console="); ok {
			name, _, _ := strings.Cut(value, ",")
			names = append(names, path.Base(s.resolve("/dev/"+name))) // serial0 is an alias
		}
	}
	return names
}

func (s *system) consoleFix(name, why string) string {
	if s.raspberry() {
		return "take the console off the port, " + why + ": sudo raspi-config nonint do_serial_cons 1, then reboot (in its menu: Interface Options, Serial Port, login shell no, hardware yes)"
	}
	return "remove console=" + name + " from the kernel's command line, " + why + "; with GRUB: sudo sed -i 's/console=" + name + "[^ \"]* *//' /etc/default/grub && sudo update-grub, then reboot"
}
