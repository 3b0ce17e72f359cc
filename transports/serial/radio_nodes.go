package serial

import (
	"encoding/binary"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/serial/xbee"
)

// unknown64 stands for a 64-bit address that is not known; the 16-bit one says who it is.
const unknown64 = 0xFFFFFFFFFFFFFFFF

// knownNodes is what is remembered of nodes between packets. A node is one by its 64-bit
// address alone; the network may give it another 16-bit one at any time.
type knownNodes map[transports.Addr]knownNode

type knownNode struct {
	addr16 uint16 // 0: unknown, as the coordinator, whose it is, is found without
	doubt  bool   // the last packet for it did not arrive
}

// maxKnown bounds knownNodes. Who is forgotten is looked for by the network again.
const maxKnown = 4096

func (k knownNodes) set(addr transports.Addr, n knownNode) {
	if n == (knownNode{}) {
		delete(k, addr)
		return
	}
	if _, ok := k[addr]; !ok && len(k) >= maxKnown {
		for other := range k { // whichever
			delete(k, other)
			break
		}
	}
	k[addr] = n
}

// learn remembers the 16-bit address of a node that has just been heard.
func (k knownNodes) learn(addr transports.Addr, addr16 uint16) {
	n := k[addr]
	if n.addr16 = addr16; addr16 == xbee.Unknown16 {
		n.addr16 = 0
	}
	n.doubt = false
	k.set(addr, n)
}

// forget makes the network look for a node anew.
func (k knownNodes) forget(addr transports.Addr) {
	n := k[addr]
	n.addr16 = 0
	k.set(addr, n)
}

// doubt remembers whether the last packet for a node arrived.
func (k knownNodes) doubt(addr transports.Addr, doubt bool) {
	n := k[addr]
	if n.doubt != doubt {
		n.doubt = doubt
		k.set(addr, n)
	}
}

// addr16 is a node's 16-bit address, xbee.Unknown16 if it is not known.
func (k knownNodes) addr16(addr transports.Addr) uint16 {
	if n := k[addr]; n.addr16 != 0 {
		return n.addr16
	}
	return xbee.Unknown16
}

func nodeAddr(addr64 uint64) transports.Addr {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], addr64)
	return transports.NodeAddr(b[:])
}

func shortAddr(addr16 uint16) transports.Addr {
	return transports.NodeAddr([]byte{byte(addr16 >> 8), byte(addr16)})
}

// addr64 is the 64-bit address of a node; 0 if it has a 16-bit one.
func addr64(a transports.Addr) uint64 {
	if id := a.Node(); len(id) == 8 {
		return binary.BigEndian.Uint64(id)
	}
	return 0
}

// addr16 is the 16-bit address of a node that is known by that alone.
func addr16(a transports.Addr) (addr uint16, ok bool) {
	id := a.Node()
	if len(id) != 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(id), true
}
