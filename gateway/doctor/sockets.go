package doctor

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// binding is a socket that has a port.
type binding struct {
	inode string
	uid   int
}

// bindings are the sockets that are in the way of one at addr, whose address may be
// unspecified. network is "udp" or "tcp".
func (s *system) bindings(network string, addr netip.AddrPort) []binding {
	var all []binding
	for _, table := range []string{network, network + "6"} {
		for line := range strings.Lines(s.read("/proc/net", table)) {
			// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
			f := strings.Fields(line)
			if len(f) < 10 || network == "tcp" && f[3] != "0A" { // only those that listen
				continue
			}
			local, ok := socketAddr(f[1])
			if !ok || local.Port() != addr.Port() || !overlap(local.Addr(), addr.Addr()) {
				continue
			}
			uid, err := strconv.Atoi(f[7])
			if err != nil {
				uid = -1
			}
			all = append(all, binding{inode: f[9], uid: uid})
		}
	}
	return all
}

// overlap reports whether sockets at both addresses get in each other's way.
func overlap(a, b netip.Addr) bool {
	a, b = a.Unmap().WithZone(""), b.Unmap().WithZone("")
	return a == b || a.IsUnspecified() || b.IsUnspecified() || !b.IsValid()
}

// socketAddr reads an address of /proc/net: words of 32 bits as the processor has them,
// in hexadecimal, a colon and the port.
func socketAddr(text string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(text, ":")
	words, err := hex.DecodeString(host)
	if err != nil || len(words) != 4 && len(words) != 16 {
		return netip.AddrPort{}, false
	}
	for word := range slices.Chunk(words, 4) {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	addr, _ := netip.AddrFromSlice(words)
	n, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), err == nil
}

// portHolders are the processes that have the port of addr. If none is seen, owners are
// the users whose sockets are in the way.
func (s *system) portHolders(network string, addr netip.AddrPort) (all []process, owners []string) {
	bindings := s.bindings(network, addr)
	if all = s.holders(bindings); len(all) > 0 {
		return all, nil
	}
	for _, b := range bindings {
		if name := s.userName(b.uid); !slices.Contains(owners, name) {
			owners = append(owners, name)
		}
	}
	return nil, owners
}

// holders are the processes that have one of these sockets.
func (s *system) holders(bindings []binding) (all []process) {
	if len(bindings) == 0 {
		return nil
	}
	files := s.openFiles(func(target string) bool {
		inode, ok := strings.CutPrefix(target, "socket:[")
		return ok && slices.ContainsFunc(bindings, func(b binding) bool { return inode == b.inode+"]" })
	})
	for _, b := range bindings {
		for _, p := range files.holders("socket:[" + b.inode + "]") {
			if !slices.ContainsFunc(all, func(q process) bool { return q.pid == p.pid }) {
				all = append(all, p)
			}
		}
	}
	return all
}
