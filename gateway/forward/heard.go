package forward

import (
	"sync"

	"mqttsn-gateway/transports"
)

// heard remembers the devices of a link that were heard last: those with IP addresses,
// since to others of that kind nothing is sent; and to which of our own addresses they
// send, since most take an answer from there only.
type heard struct {
	mu         sync.Mutex
	young, old map[transports.Addr]transports.Addr
}

// maxHeard is how many devices each of the two generations holds, some 100 octets each.
const maxHeard = 16384

// note remembers that the device at addr sent to local, the zero Addr if it was a group
// or is not known.
func (h *heard) note(addr, local transports.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, ok := h.young[addr]
	if !ok {
		known = h.old[addr]
	}
	if local.IsZero() {
		local = known
	}
	if ok && local == known || local.IsZero() && !isIP(addr) {
		return
	}
	if h.young == nil || len(h.young) >= maxHeard {
		h.young, h.old = make(map[transports.Addr]transports.Addr), h.young
	}
	h.young[addr] = local
}

// local is the address that the device at addr sent to, the zero Addr if that is not
// known; ok is false if the device is not remembered.
func (h *heard) local(addr transports.Addr) (local transports.Addr, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if local, ok = h.young[addr]; !ok {
		local, ok = h.old[addr]
	}
	return local, ok
}

func isIP(addr transports.Addr) bool {
	_, _, ok := addr.AddrPort()
	return ok
}
