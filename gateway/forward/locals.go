package forward

import (
	"sync"

	"mqttsn-gateway/transports"
)

// locals remembers to which of our own addresses the devices of a link send, since most
// take an answer from there only. It is a convenience on hosts with several addresses: it
// holds the devices heard last, and of others the system chooses the address.
type locals struct {
	mu         sync.Mutex
	young, old map[transports.Addr]transports.Addr
}

// maxLocals is how many devices each of the two generations holds, some 100 octets each.
const maxLocals = 4096

// note remembers that the device at addr sent to local.
func (l *locals) note(addr, local transports.Addr) {
	if local.IsZero() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.young[addr] == local {
		return
	}
	if l.young == nil || len(l.young) >= maxLocals {
		l.young, l.old = make(map[transports.Addr]transports.Addr), l.young
	}
	l.young[addr] = local
}

// of is the address that the device at addr sent to; the zero Addr if it is not known.
func (l *locals) of(addr transports.Addr) transports.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	if local, ok := l.young[addr]; ok {
		return local
	}
	return l.old[addr]
}
