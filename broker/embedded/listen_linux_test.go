package embedded

import (
	"net"
	"syscall"
	"testing"

	"mqttsn-gateway/broker/mqtt"
)

// The system looks after connections, but not each 15 seconds.
func TestTCPKeepAlive(t *testing.T) {
	b := serve(t)
	login(t, b, mqtt.V311, "c")
	var conn net.Conn
	b.clients.mu.Lock()
	for c := range b.clients.open {
		conn = c.conn
	}
	b.clients.mu.Unlock()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]struct{ level, option, want int }{
		"SO_KEEPALIVE":  {syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		"TCP_KEEPIDLE":  {syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 300},
		"TCP_KEEPINTVL": {syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 30},
		"TCP_KEEPCNT":   {syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 6},
		"TCP_NODELAY":   {syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
	} {
		var got int
		var failed error
		err := raw.Control(func(fd uintptr) { got, failed = syscall.GetsockoptInt(int(fd), o.level, o.option) })
		if err != nil || failed != nil || got != o.want {
			t.Errorf("%s is %d, want %d; %v, %v", name, got, o.want, err, failed)
		}
	}
}
