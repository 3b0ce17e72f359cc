package udp

import (
	"errors"
	"net"
	"testing"

	"mqttsn-gateway/transports"
)

// busySocket has no room for what goes to some interfaces.
type busySocket struct {
	socket
	busy map[int]bool // by index
}

func (s busySocket) sendGroup(t target, hops int, data []byte) error {
	if s.busy[t.nic.Index] {
		return transports.ErrBusy
	}
	return s.socket.sendGroup(t, hops, data)
}

// TestBusyInterfaces: one that has no room is counted, once: here if another took the
// datagram, else by the caller, who learns of it.
func TestBusyInterfaces(t *testing.T) {
	onEach(t, func(t *testing.T, open opener) {
		o, _ := groupOptions(t, "", true)
		l := openLink(t, o, open)
		first := (*l.groups.targets.Load())[0]
		second := first
		second.nic.Interface = net.Interface{Index: 1 << 20, Name: "busy0"}
		l.groups.targets.Store(&[]target{second, first, second})
		s := busySocket{l.socket, map[int]bool{second.nic.Index: true}}
		l.socket = s
		if err := l.Broadcast(transports.Addr{}, 1, []byte("x")); err != nil || l.Drops().Unsendable != 2 {
			t.Errorf("one of three: %v, %+v", err, l.Drops())
		}
		s.busy[first.nic.Index] = true
		if err := l.Broadcast(transports.Addr{}, 1, []byte("x")); !errors.Is(err, transports.ErrBusy) || l.Drops().Unsendable != 2 {
			t.Errorf("none of three: %v, %+v", err, l.Drops())
		}
	})
}
