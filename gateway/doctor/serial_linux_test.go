package doctor

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

const byID = "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0"

// usb is a Raspberry Pi with an FTDI adapter.
var usb = files{
	"/dev/ttyUSB0": "",
	byID:           "-> ../../ttyUSB0",
	"/dev/serial/by-path/platform-usb-0:1.2:1.0-port0":                 "-> ../../ttyUSB0",
	"/sys/class/tty/ttyUSB0":                                           "-> ../../devices/usb1/1-1/1-1.2/1-1.2:1.0/ttyUSB0/tty/ttyUSB0",
	"/sys/devices/usb1/1-1/1-1.2/1-1.2:1.0/ttyUSB0/tty/ttyUSB0/device": "-> ../../../ttyUSB0",
	"/sys/devices/usb1/1-1/1-1.2/1-1.2:1.0/ttyUSB0/driver":             "-> ../../../../../../bus/usb-serial/drivers/ftdi_sio",
	"/sys/devices/usb1/1-1/1-1.2/idVendor":                             "0403\n",
	"/sys/devices/usb1/1-1/1-1.2/idProduct":                            "6001\n",
	"/sys/devices/usb1/1-1/1-1.2/manufacturer":                         "FTDI\n",
	"/sys/devices/usb1/1-1/1-1.2/product":                              "FT232R USB UART\n",
	"/sys/bus/usb/devices/1-1.2":                                       "-> ../../../devices/usb1/1-1/1-1.2",
}

// uart is a UART on the board of a Raspberry Pi, with the kernel's own layers.
var uart = files{
	"/dev/ttyAMA0":                            "",
	"/dev/serial0":                            "-> ttyAMA0",
	"/sys/class/tty/ttyAMA0/device":           "-> ../../../devices/soc/fe201000.serial/fe201000.serial:0/fe201000.serial:0.0",
	"/sys/class/tty/ttyAMA0/type":             "32\n",
	"/sys/devices/soc/fe201000.serial/driver": "-> ../../../bus/amba/drivers/uart-pl011",
	"/sys/devices/soc/fe201000.serial/fe201000.serial:0/driver":                     "-> ../../../bus/serial-base/drivers/ctrl",
	"/sys/devices/soc/fe201000.serial/fe201000.serial:0/fe201000.serial:0.0/driver": "-> ../../../bus/serial-base/drivers/port",
	"/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\x00",
}

func TestSerialPortsAreListed(t *testing.T) {
	m := newMachine(t, usb.plus(uart).plus(files{
		"/sys/class/tty/tty0/dev":       "4:0\n",
		"/sys/class/tty/ttyS0/type":     "0\n", // a name without hardware
		"/sys/class/tty/ttyS0/device":   "-> ../../../devices/soc/fe201000.serial",
		"/dev/ttyS0":                    "",
		"/sys/class/tty/ttyS1/type":     "4\n", // another container's
		"/sys/class/tty/ttyS1/device":   "-> ../../../devices/soc/fe201000.serial",
		"/sys/class/tty/ttyACM0/device": "-> ../../../devices/none",
	}))
	findings := m.serialPorts(nil)
	if len(findings) != 3 {
		t.Fatalf("got %+v", findings)
	}
	want(t, findings[0], Warn, "serial /dev/ttyACM0: the kernel has it", "container", "docker run --device=/dev/ttyACM0")
	want(t, findings[1], OK, "serial "+byID+" (ttyUSB0, FTDI FT232R USB UART): opens", "gateway --serial "+byID)
	want(t, findings[2], OK, "serial /dev/serial0 (ttyAMA0, built-in UART, uart-pl011): opens", "--serial /dev/serial0")
	bare := newMachine(t, files{"/dev/ttyUSB7": ""}) // a container without /sys
	want(t, one(t, bare.serialPorts(nil)), OK, "serial /dev/ttyUSB7: opens", "--serial /dev/ttyUSB7")
	if f := one(t, newMachine(t, nil).serialPorts(nil)); f.Status != OK {
		t.Errorf("got %+v", f)
	}
	m.uid = 0
	want(t, m.serialPorts([]string{"/dev/ttyUSB0"})[1], OK, "opens (as root; other users have to be in the group dialout)")
}

func TestNoPermission(t *testing.T) {
	dialout := node{mode: 0o660, gid: 20}
	t.Run("not in the group", func(t *testing.T) {
		m := newMachine(t, usb).refuse("/dev/ttyUSB0", dialout)
		want(t, one(t, m.serialPorts(nil)), Warn, "no permission: it belongs to the group dialout, and pi is not in it", "sudo usermod -aG dialout pi", "log out and in again")
		want(t, one(t, m.serialPorts([]string{"/dev/ttyUSB0"})), Fail, "sudo usermod")
		want(t, one(t, m.serialPorts([]string{byID})), Fail, "sudo usermod")
	})
	t.Run("not in this login", func(t *testing.T) {
		m := newMachine(t, usb.plus(files{"/etc/group": "dialout:x:20:alice,pi\n"})).refuse("/dev/ttyUSB0", dialout)
		f := one(t, m.serialPorts(nil))
		want(t, f, Warn, "pi is in the group dialout by now, but this process was started without it", "log out and in again", "newgrp dialout")
		not(t, f, "usermod")
	})
	t.Run("primary group", func(t *testing.T) {
		m := newMachine(t, usb.plus(files{"/etc/passwd": "pi:x:1000:20::/:/bin/sh\n"})).refuse("/dev/ttyUSB0", dialout)
		want(t, one(t, m.serialPorts(nil)), Warn, "by now")
	})
	t.Run("nobody but root", func(t *testing.T) {
		for _, n := range []node{{mode: 0o600}, {mode: 0o660}, {mode: 0o640, gid: 20}} {
			m := newMachine(t, usb).refuse("/dev/ttyUSB0", n)
			want(t, one(t, m.serialPorts(nil)), Warn, "only root may open it", `KERNEL=="ttyUSB[0-9]*", GROUP="dialout"`, "/etc/udev/rules.d/60-mqttsn-ttyUSB0.rules", "trigger /sys/class/tty/ttyUSB0")
		}
	})
	t.Run("container", func(t *testing.T) {
		m := newMachine(t, usb).refuse("/dev/ttyUSB0", dialout)
		m.groups = append(m.groups, 20)
		want(t, one(t, m.serialPorts(nil)), Warn, "the system forbids it although", "docker run --device=/dev/ttyUSB0")
		m = newMachine(t, usb)
		m.refusals["/dev/ttyUSB0"] = syscall.EPERM
		want(t, one(t, m.serialPorts(nil)), Warn, "the system forbids it although")
	})
	t.Run("service", func(t *testing.T) {
		service := files{"/proc/self/cgroup": "0::/system.slice/mqttsn-gateway.service\n", "/etc/passwd": ""}
		m := newMachine(t, usb.plus(service)).refuse("/dev/ttyUSB0", dialout)
		f := one(t, m.serialPorts(nil))
		want(t, f, Warn, "user 1000 is not in it", "sudo systemctl edit mqttsn-gateway.service", "SupplementaryGroups=dialout")
		not(t, f, "usermod")
		m.groups = append(m.groups, 20)
		want(t, one(t, m.serialPorts(nil)), Warn, "DeviceAllow=/dev/ttyUSB0 rw")
		m = newMachine(t, usb.plus(service).plus(files{"/etc/passwd": "pi:x:1000:20::/:/bin/sh\n"})).refuse("/dev/ttyUSB0", dialout)
		want(t, one(t, m.serialPorts(nil)), Warn, "by now", "sudo systemctl restart mqttsn-gateway.service")
	})
	t.Run("a group without a name", func(t *testing.T) {
		m := newMachine(t, usb).refuse("/dev/ttyUSB0", node{mode: 0o660, gid: 986})
		want(t, one(t, m.serialPorts(nil)), Warn, "the group 986", "usermod -aG 986 pi")
	})
}

func TestBusy(t *testing.T) {
	holder := func(comm, unit string) files {
		return usb.plus(files{
			"/proc/480/comm":   comm + "\n",
			"/proc/480/cgroup": "0::/system.slice/" + unit + "\n",
			"/proc/480/fd/7":   "-> /dev/ttyUSB0",
			"/proc/480/fd/8":   "-> /dev/ttyUSB0",
			"/proc/480/exe":    "-> /usr/bin/" + comm,
		})
	}
	for _, c := range []struct {
		name string
		tree files
		want []string
	}{
		{"a program", holder("screen", "session-1.scope"), []string{"in use by screen (pid 480)", "sudo kill 480"}},
		{"a service", holder("node", "zigbee2mqtt.service"), []string{"in use by node (pid 480, zigbee2mqtt.service)", "sudo systemctl disable --now zigbee2mqtt.service"}},
		{"ModemManager", holder("ModemManager", "ModemManager.service"), []string{"it looks for modems", "sudo systemctl disable --now ModemManager.service"}},
		{"brltty", holder("brltty", "brltty.service"), []string{"braille", "sudo systemctl mask --now brltty.service"}},
		{"a hostile name", holder("a\x1b[2Jb", "x"), []string{"a?[2Jb (pid 480)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, c.tree)
			want(t, one(t, m.serialPorts([]string{byID})), Fail, c.want...)
			if len(m.opened) > 0 {
				t.Errorf("%q was opened", m.opened)
			}
		})
	}
	t.Run("a gateway", func(t *testing.T) {
		m := newMachine(t, holder("gateway", "mqttsn-gateway.service"))
		want(t, one(t, m.serialPorts([]string{byID})), Warn, "in use by a gateway that is running: gateway (pid 480")
	})
	t.Run("unseen", func(t *testing.T) {
		m := newMachine(t, usb.plus(files{"/proc/480/fd": "no directory: cannot be listed"}))
		m.refusals["/dev/ttyUSB0"] = syscall.EBUSY
		want(t, one(t, m.serialPorts([]string{byID})), Fail, "in use by another program, which only root can see", "sudo gateway doctor")
		m = newMachine(t, usb)
		m.refusals["/dev/ttyUSB0"] = syscall.EBUSY
		not(t, one(t, m.serialPorts([]string{byID})), "root")
	})
	t.Run("ourselves", func(t *testing.T) {
		m := newMachine(t, usb.plus(files{"/proc/100/fd/9": "-> /dev/ttyUSB0"}))
		want(t, one(t, m.serialPorts([]string{byID})), OK, "opens")
	})
}

func TestGetty(t *testing.T) {
	raspberry := uart.plus(files{"/proc/cmdline": "console=serial0,115200 console=tty1 root=PARTUUID=1 quiet\n"})
	elsewhere := raspberry.plus(files{"/proc/device-tree/model": "Another board"})
	getty := files{
		"/proc/480/comm":    "agetty\n",
		"/proc/480/cgroup":  "0::/system.slice/system-serial\\x2dgetty.slice/serial-getty@ttyAMA0.service\n",
		"/proc/480/cmdline": "/sbin/agetty\x00-o\x00-p -- \\u\x00ttyAMA0\x00vt220\x00",
	}
	other := files{
		"/proc/480/comm":    "agetty\n",
		"/proc/480/cgroup":  "0::/system.slice/system-getty.slice/getty@tty1.service\n",
		"/proc/480/cmdline": "/sbin/agetty\x00-o\x00-p -- \\u\x00tty1\x00linux\x00",
	}
	disable := "sudo systemctl disable --now serial-getty@ttyAMA0.service"

	m := newMachine(t, raspberry.plus(getty)).refuse("/dev/ttyAMA0", node{mode: 0o620, gid: 5})
	f := one(t, m.serialPorts([]string{"/dev/serial0"}))
	want(t, f, Fail, "a login console has it: agetty (pid 480, serial-getty@ttyAMA0.service)", disable, "raspi-config nonint do_serial_cons 1")
	not(t, f, "usermod") // the group is tty while a getty has the port
	want(t, one(t, newMachine(t, elsewhere.plus(getty)).serialPorts(nil)), Warn, disable, "remove console=ttyAMA0 from the kernel's command line", "update-grub")
	f = one(t, newMachine(t, uart.plus(getty)).serialPorts(nil))
	want(t, f, Warn, disable)
	not(t, f, "raspi-config")

	delete(getty, "/proc/480/cgroup")
	want(t, one(t, newMachine(t, uart.plus(getty)).serialPorts(nil)), Warn, "agetty (pid 480)", "/etc/inittab", "kill -HUP 1")
	want(t, one(t, newMachine(t, uart.plus(getty).plus(files{"/run/systemd/system/x": ""})).serialPorts(nil)), Warn, disable)
	want(t, one(t, newMachine(t, uart.plus(files{"/proc/480/comm": "login\n", "/proc/480/fd/0": "-> /dev/ttyAMA0"})).serialPorts(nil)), Warn, "login console has it: login (pid 480)")

	want(t, one(t, newMachine(t, uart.plus(other)).serialPorts(nil)), OK, "opens")
	want(t, one(t, newMachine(t, raspberry.plus(other)).serialPorts([]string{"/dev/ttyAMA0"})), Warn, "opens, but the kernel writes its own messages to it", "raspi-config")
}

func TestMissing(t *testing.T) {
	m := newMachine(t, usb)
	findings := m.serialPorts([]string{"/dev/ttyUSB3"})
	want(t, findings[1], Fail, "serial /dev/ttyUSB3: there is no such device", "(FTDI FT232R USB UART): gateway --serial "+byID)
	if len(findings) != 2 {
		t.Errorf("got %+v", findings)
	}
	want(t, m.serialPorts(nil, "/dev/ttyUSB3")[1], Warn, "serial /dev/ttyUSB3: there is no such device")
	want(t, m.serialPorts([]string{"/dev/ttyUSB3"}, "/dev/ttyUSB3")[1], Fail, "there is no such device")
	want(t, newMachine(t, nil).serialPorts([]string{"/dev/ttyUSB0"})[0], Fail, "and no other serial port", "plug the adapter in", "dmesg")
	m = newMachine(t, files{"/dev/ttyUSB0": ""})
	want(t, m.serialPorts([]string{byID})[1], Fail, "this system makes no names in /dev/serial", "--serial /dev/ttyUSB0")
	m = newMachine(t, files{"/sys/class/tty/ttyUSB0/device": "-> x", byID: "-> ../../ttyUSB0"})
	f := m.serialPorts([]string{byID})
	want(t, f[len(f)-1], Fail, "the kernel has it", "docker run --device=/dev/ttyUSB0")
}

func TestAdapterWithoutPort(t *testing.T) {
	bare := files{
		"/sys/bus/usb/devices/1-1.3/idVendor":     "1a86\n",
		"/sys/bus/usb/devices/1-1.3/idProduct":    "7523\n",
		"/sys/bus/usb/devices/1-1.3/product":      "USB Serial\n",
		"/sys/bus/usb/devices/1-1.3/1-1.3:1.0/x":  "",
		"/sys/bus/usb/devices/1-1/idVendor":       "1d6b\n",
		"/sys/bus/usb/devices/1-1/idProduct":      "0002\n",
		"/sys/bus/usb/devices/1-1.3:1.0/modalias": "",
	}
	want(t, one(t, newMachine(t, bare).serialPorts(nil)), Warn, "a USB serial adapter is plugged in (USB Serial), but it has no port", "sudo modprobe ch341")
	brltty := bare.plus(files{"/proc/480/comm": "brltty\n"})
	want(t, one(t, newMachine(t, brltty).serialPorts(nil)), Warn, "brltty has taken it", "mask --now brltty.service", "plug the adapter in again")
	want(t, newMachine(t, brltty).serialPorts([]string{"/dev/ttyUSB0"})[0], Fail, "there is no such device; a USB serial adapter", "brltty.service")
}

func TestNoSerialPortAndNoHardware(t *testing.T) {
	m := newMachine(t, uart.plus(usb).plus(files{"/home/pi/notes": "", "/dev/ttyS5": "", "/sys/class/tty/ttyS5/type": "0", "/dev/null": ""}))
	m.nodes["/home/pi/notes"] = node{mode: 0o644, gid: 1000}
	f := m.serialPorts([]string{"/home/pi/notes", "/dev/null"})
	want(t, f[2], Fail, "serial /home/pi/notes: is not a serial port", "this is one: gateway --serial "+byID)
	want(t, f[3], Fail, "serial /dev/null: is not a serial port")
	for device, fix := range map[string]string{"/dev/ttyS5": "raspi-config nonint do_serial_hw 0", "/dev/ttyUSB0": "unplug the adapter"} {
		for _, err := range []error{syscall.EIO, syscall.ENXIO, syscall.ENODEV} {
			m.refusals[device] = err
			want(t, m.serialPort(port{device: device, stable: device}, Fail), Fail, "no working hardware behind it", fix)
		}
	}
	m.refusals["/dev/ttyS5"] = syscall.ENOTTY
	want(t, m.serialPort(port{device: "/dev/ttyS5", stable: "/dev/ttyS5"}, Fail), Fail, "is not a serial port")
	m.refusals["/dev/ttyS5"] = errors.New("it rains")
	want(t, m.serialPort(port{device: "/dev/ttyS5", stable: "/dev/ttyS5"}, Fail), Fail, "does not open: it rains")
	bare := newMachine(t, files{"/dev/x": ""})
	bare.nodes["/dev/x"] = node{mode: 0o644}
	want(t, bare.serialPort(port{device: "/dev/x", stable: "/dev/x"}, Fail), Fail, "is not a serial port", "ls -lL /dev/x")
	bare = newMachine(t, files{"/dev/ttyS1": ""})
	bare.refusals["/dev/ttyS1"] = syscall.EIO
	want(t, bare.serialPort(port{device: "/dev/ttyS1", stable: "/dev/ttyS1"}, Fail), Fail, "dmesg | grep tty")
}

// What is said when the start fails is what doctor says, and the error stays what it was.
func TestSerialErrors(t *testing.T) {
	m := newMachine(t, usb).refuse("/dev/ttyUSB0", node{mode: 0o660, gid: 20})
	library := errors.New("Permission denied") // not one of the system's
	for _, err := range []error{syscall.EACCES, &fs.PathError{Op: "open", Path: byID, Err: syscall.EACCES}, library} {
		got := m.explainSerial(byID, err)
		if !errors.Is(got, err) || !strings.HasPrefix(got.Error(), "cannot open serial port "+byID+": no permission: it belongs to the group dialout") ||
			!strings.Contains(got.Error(), "sudo usermod -aG dialout pi") {
			t.Errorf("got %v", got)
		}
	}
	if got := m.explainSerial("/dev/ttyUSB9", fs.ErrNotExist); !strings.Contains(got.Error(), "there is no such device; this one is there") {
		t.Errorf("got %v", got)
	}
	m.refusals["/dev/ttyUSB0"] = nil
	for _, err := range []error{syscall.EINVAL, syscall.ENOTTY} {
		if got := m.explainSerial(byID, err); !errors.Is(got, err) || !strings.Contains(got.Error(), "cannot do this speed") {
			t.Errorf("got %v", got)
		}
	}
	if got := m.explainSerial(byID, library); got != library {
		t.Errorf("got %v for what works by now", got)
	}
	if SerialPort("/dev/x", nil) != nil {
		t.Error("no error became one")
	}
}

func TestManyHolders(t *testing.T) {
	tree := usb
	for _, pid := range []string{"201", "202", "203", "204", "205", "206"} {
		tree = tree.plus(files{"/proc/" + pid + "/comm": "cat\n", "/proc/" + pid + "/fd/0": "-> /dev/ttyUSB0"})
	}
	f := one(t, newMachine(t, tree).serialPorts(nil))
	want(t, f, Warn, "cat (pid 201)", "cat (pid 204) and 2 more", "kill 204")
	not(t, f, "205")
}
