package doctor

import (
	"fmt"
	"strconv"
	"strings"
)

// buffers looks whether the system grants the socket buffers that the listeners ask for,
// and says nothing if it does. A buffer that is too small loses datagrams when many
// devices speak at once.
func (s *system) buffers(listeners []Listener) []Finding {
	if s.may(capNetAdmin) {
		return nil
	}
	receive, send := 0, 0
	for _, l := range listeners {
		receive, send = max(receive, l.ReceiveBuffer), max(send, l.SendBuffer)
	}
	var short, settings []string
	for _, b := range []struct {
		key, what string
		asked     int
	}{
		{"net.core.rmem_max", "receive", receive},
		{"net.core.wmem_max", "send", send},
	} {
		limit, err := strconv.Atoi(s.read("/proc/sys", strings.ReplaceAll(b.key, ".", "/")))
		if err != nil || b.asked <= limit { // a container may not have the file
			continue
		}
		short = append(short, fmt.Sprintf("%d octets to %s (%s), %d are asked for", limit, b.what, b.key, b.asked))
		settings = append(settings, fmt.Sprintf("%s=%d", b.key, b.asked))
	}
	if len(short) == 0 {
		return nil
	}
	return []Finding{{
		Status: Warn, Subject: "socket buffers",
		Text: "the system grants only " + strings.Join(short, ", and ") + ": when many devices speak at once, datagrams are lost",
		Fixes: []string{"allow more: printf '%s\\n' " + strings.Join(settings, " ") +
			" | sudo tee /etc/sysctl.d/60-mqttsn-gateway.conf && sudo sysctl --system"},
	}}
}

// capNetAdmin is CAP_NET_ADMIN, with which limits on socket buffers do not count.
const capNetAdmin = 12

// may reports whether this process has a capability.
func (s *system) may(capability uint) bool {
	for line := range strings.Lines(s.read("/proc/self/status")) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return err == nil && set>>capability&1 == 1
		}
	}
	return false
}
