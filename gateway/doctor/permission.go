package doctor

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"
)

// forbidden is for a device that this process has no permission to open.
func (s *system) forbidden(device string, n node, err error) *trouble {
	if n.gid < 0 {
		return &trouble{cause: "no permission to open it"}
	}
	group, members, known := s.group(n.gid)
	if !known {
		group = fmt.Sprint(n.gid)
	}
	user, primary, named := s.user(s.uid)
	if !named {
		user = fmt.Sprintf("user %d", s.uid)
	}
	const groupMay, othersMay = 0o060, 0o006
	mode := n.mode.Perm()
	switch {
	case s.uid == 0, errors.Is(err, syscall.EPERM), mode&othersMay == othersMay,
		mode&groupMay == groupMay && slices.Contains(s.groups, n.gid):
		return s.confined(device)
	case mode&groupMay != groupMay || n.gid == 0:
		name, all := path.Base(device), path.Base(device)
		if isAdapter(name) { // whose number is another one tomorrow
			all = strings.TrimRight(name, "0123456789") + "[0-9]*"
		}
		return &trouble{
			cause: fmt.Sprintf("no permission: only root may open it (mode %04o, group %s)", mode, group),
			fixes: []string{fmt.Sprintf(
				`give it to a group: echo 'KERNEL=="%s", GROUP="dialout", MODE="0660"' | sudo tee /etc/udev/rules.d/60-mqttsn-%s.rules && sudo udevadm control --reload && sudo udevadm trigger /sys/class/tty/%s`,
				all, name, name)},
		}
	case named && (primary == n.gid || slices.Contains(members, user)):
		return &trouble{
			cause: fmt.Sprintf("no permission: %s is in the group %s by now, but this process was started without it", user, group),
			fixes: s.renew(group),
		}
	}
	t := &trouble{cause: fmt.Sprintf("no permission: it belongs to the group %s, and %s is not in it", group, user)}
	if named {
		t.fixes = append(t.fixes, fmt.Sprintf("add %s to the group: sudo usermod -aG %s %s", user, quote(group), quote(user)))
	}
	if unit := s.service(); unit != "" {
		t.fixes = append(t.fixes, fmt.Sprintf("give the group to the service: sudo systemctl edit %s, write [Service] and SupplementaryGroups=%s, then sudo systemctl restart %s", unit, group, unit))
	} else {
		t.fixes = append(t.fixes, s.renew(group)...)
	}
	return t
}

// renew is how a process comes to the groups that its user has.
func (s *system) renew(group string) []string {
	if unit := s.service(); unit != "" {
		return []string{"start the service again, since groups count from the start on: sudo systemctl restart " + quote(unit)}
	}
	return []string{"log out and in again, or reboot, since groups count from the next login on; for this terminal alone: newgrp " + quote(group)}
}

// confined is for when the file's mode would do and something else forbids it.
func (s *system) confined(device string) *trouble {
	t := &trouble{cause: "the system forbids it although the file's mode allows it: a container, or a service, has only the devices that it was given"}
	if unit := s.service(); unit != "" {
		t.fixes = []string{fmt.Sprintf("give it to the service: sudo systemctl edit %s, write [Service] and DeviceAllow=%s rw, then sudo systemctl restart %s", unit, device, unit)}
	} else {
		t.fixes = []string{"give it to the container: docker run --device=" + quote(device) + " …"}
	}
	return t
}

// service is the systemd service that this process is; "" if it is none, or was started
// by somebody who came in through one.
func (s *system) service() string {
	unit := s.unit("/proc/self")
	for _, way := range []string{"ssh", "cron", "getty@", "serial-getty@", "dropbear", "docker", "containerd"} {
		if strings.HasPrefix(unit, way) {
			return ""
		}
	}
	return unit
}
