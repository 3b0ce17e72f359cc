package doctor

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"mqttsn-gateway/transports/serial"
)

// SerialPort says why a serial port does not open and what helps. The error that it
// returns wraps err; it is err itself if there is nothing to add, nil if err is.
func SerialPort(device string, err error) error {
	if err == nil {
		return nil
	}
	return host().explainSerial(device, err)
}

func (s *system) explainSerial(device string, err error) error {
	t := s.serialTrouble(device, err)
	if t == nil {
		return err
	}
	return t.explain("cannot open serial port "+foreign(device), err)
}

// SerialPorts looks at every serial port of this machine, and at those that are
// configured whether they are there or not. Each is opened for a moment, as the gateway
// does, unless another program has it; boards that reset when their port is opened do.
// Nothing is sent. A port that does not work is a fail only if the gateway does not start
// without it.
func SerialPorts(lines []serial.Options) []Finding {
	var required, optional []string
	for _, o := range lines {
		if o.Required {
			required = append(required, o.Device)
		} else {
			optional = append(optional, o.Device)
		}
	}
	return host().serialPorts(required, optional...)
}

func (s *system) serialPorts(required []string, optional ...string) []Finding {
	ports := s.ports(s)
	bad := make(map[string]Status) // what it is that a configured port does not work
	for i, name := range slices.Concat(optional, required) {
		device := s.resolve(name)
		bad[device] = Warn
		if i >= len(optional) {
			bad[device] = Fail
		}
		if !slices.ContainsFunc(ports, func(p port) bool { return p.device == device }) {
			ports = append(ports, port{device: device, stable: name})
		}
	}
	var findings []Finding
	for _, p := range ports {
		findings = append(findings, s.serialPort(p, bad[p.device]))
	}
	for _, t := range s.portless() {
		findings = append(findings, t.finding(Warn, "serial"))
	}
	if len(findings) == 0 {
		findings = []Finding{{Status: OK, Subject: "serial", Text: "no serial port on this machine, and none is configured"}}
	}
	return findings
}

// serialPort looks at one port. bad is what it is that it does not work; "" if it is not
// configured.
func (s *system) serialPort(p port, bad Status) Finding {
	configured := bad != ""
	if !configured {
		bad = Warn
	}
	if t := s.serialTrouble(p.device, nil); t != nil {
		if t.running {
			bad = Warn
		}
		return t.finding(bad, p.subject())
	}
	if t := s.consoleTrouble(path.Base(p.device)); t != nil {
		return t.finding(Warn, p.subject())
	}
	text := "opens"
	if n, err := s.node(s.path(p.device)); err == nil && s.uid == 0 && n.gid > 0 {
		if group, _, ok := s.group(n.gid); ok {
			text += " (as root; other users have to be in the group " + group + ")"
		}
	}
	if !configured {
		text += "; use it: gateway " + p.flag()
	}
	return Finding{Status: OK, Subject: p.subject(), Text: text}
}

// serialTrouble finds out what keeps a serial port from being used; nil if nothing does.
// err is why it did not open, nil if that was not tried.
func (s *system) serialTrouble(name string, err error) *trouble {
	device := s.resolve(name)
	n, statErr := s.node(s.path(device))
	switch {
	case errors.Is(statErr, fs.ErrNotExist):
		return s.missing(name)
	case statErr == nil && n.mode&fs.ModeCharDevice == 0, !s.terminal(device):
		return s.notATerminal(name)
	}
	files := s.openFiles(func(target string) bool { return target == device })
	if t := s.getty(path.Base(device), files.holders(device)); t != nil {
		return t // before permissions, which a getty takes away
	}
	if t := s.held(device, files); t != nil && !isPseudo(device) {
		return t
	}
	if !classified(err) {
		err = s.open(s.path(device))
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return s.forbidden(device, n, err)
	case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.EWOULDBLOCK):
		return s.busy(device, files)
	case errors.Is(err, syscall.ENOTTY) && s.open(s.path(device)) != nil:
		return s.notATerminal(name)
	case errors.Is(err, syscall.ENOTTY), errors.Is(err, syscall.EINVAL):
		return &trouble{
			cause: "the port opens, but it cannot do this speed",
			fixes: []string{"choose another, on both ends: --serial " + quote(name) + ",baud=115200"},
		}
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ENODEV):
		return s.dead(device, err)
	}
	return &trouble{cause: "does not open: " + err.Error()}
}

// terminal reports whether the kernel has a device among its terminals, or does not tell.
// It is asked so that what others have open need not be opened to find out.
func (s *system) terminal(device string) bool {
	return !s.exists("/sys/class/tty") || isPseudo(device) ||
		s.exists("/sys/class/tty", path.Base(device))
}

// classified reports whether an error tells what is wrong. Those of serial libraries may
// not.
func classified(err error) bool {
	for _, known := range []error{
		fs.ErrPermission, syscall.EBUSY, syscall.EWOULDBLOCK, syscall.ENOTTY, syscall.EINVAL,
		syscall.EIO, syscall.ENXIO, syscall.ENODEV,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// maxOffers bounds how many ports are offered in place of one that is not there.
const maxOffers = 5

// missing is for a device that is not there.
func (s *system) missing(device string) *trouble {
	t := &trouble{cause: "there is no such device"}
	ports := s.ports(s)
	for _, p := range ports {
		switch {
		case p.absent && (p.device == device || p.device == path.Join(path.Dir(device), s.link(device))):
			return s.absent(p)
		case p.absent || len(t.fixes) == maxOffers:
		default:
			about := ""
			if p.about != "" {
				about = " (" + foreign(p.about) + ")"
			}
			t.fixes = append(t.fixes, "this one is there"+about+": gateway "+p.flag())
		}
	}
	if strings.HasPrefix(device, "/dev/serial/") && len(ports) > 0 && !s.exists("/dev/serial") {
		t.cause += ": this system makes no names in /dev/serial (udev's rule 60-serial.rules is missing or broken)"
	}
	for _, p := range s.portless() {
		t.cause += "; " + p.cause
		t.fixes = append(p.fixes, t.fixes...)
	}
	if len(t.fixes) == 0 {
		t.cause += ", and no other serial port"
		t.fixes = []string{"plug the adapter in and see what the kernel says of it: sudo dmesg | tail"}
	}
	return t
}

// absent is for a port that the kernel has and /dev does not.
func (s *system) absent(p port) *trouble {
	return &trouble{
		cause: "the kernel has it, but there is no " + p.device + " here, as in a container that was not given it",
		fixes: []string{"give it to the container: docker run --device=" + quote(p.device) + " …"},
	}
}

func (s *system) notATerminal(device string) *trouble {
	t := &trouble{cause: "is not a serial port"}
	for _, p := range s.ports(s) {
		if !p.absent && len(t.fixes) < maxOffers {
			t.fixes = append(t.fixes, "this is one: gateway "+p.flag())
		}
	}
	if len(t.fixes) == 0 {
		t.fixes = []string{"see what it is: ls -lL " + quote(device)}
	}
	return t
}

// dead is for a device file without a device.
func (s *system) dead(device string, err error) *trouble {
	t := &trouble{cause: "there is no working hardware behind it (" + err.Error() + ")"}
	if isAdapter(path.Base(device)) {
		t.fixes = []string{"unplug the adapter and plug it in again, and see what the kernel says of it: sudo dmesg | tail"}
	} else if s.raspberry() {
		t.fixes = []string{"switch the UART on, and reboot: sudo raspi-config nonint do_serial_hw 0"}
	} else {
		t.fixes = []string{"see which UARTs there are: sudo dmesg | grep tty"}
	}
	return t
}

// raspberry reports whether this is a Raspberry Pi.
func (s *system) raspberry() bool {
	return strings.Contains(s.read("/proc/device-tree/model"), "Raspberry Pi")
}
