package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
)

// openSocket opens a UDP socket that is connected: it takes datagrams from the gateway
// only, and the system tells when nobody listens there.
func openSocket(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	from := &net.UDPAddr{Port: int(local.Port())}
	if ip := local.Addr(); ip.IsValid() {
		from.IP, from.Zone = ip.WithZone("").AsSlice(), ip.Zone()
	}
	dialer := net.Dialer{LocalAddr: from}
	conn, err := dialer.DialContext(ctx, "udp", remote.String())
	if err != nil {
		return nil, err
	}
	if udp, ok := conn.(*net.UDPConn); ok {
		// Room for a burst; without it the system's own choice has to do.
		_ = udp.SetReadBuffer(1 << 20)
	}
	return conn, nil
}

// resolveHost is the addresses of a host, IPv4 first, as most gateways listen there.
func resolveHost(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return slices.Compact(addrs), nil
}

// isBindError reports whether the local address cannot be had, as opposed to the way to
// the remote one.
func isBindError(err error) bool {
	var call *os.SyscallError
	return errors.As(err, &call) && call.Syscall == "bind"
}

// bindError says what to do about a local address that cannot be had.
func bindError(local string, err error) error {
	advice := "check the address"
	switch {
	case errors.Is(err, errInUse):
		advice = "another program has this UDP port, perhaps another forwarder; stop it or choose another port"
	case errors.Is(err, errForbidden):
		advice = "this user may not have that port; choose one above 1023, or grant the right to low ports"
	case errors.Is(err, errNotAvailable):
		advice = "no interface of this machine has that address; choose another"
	}
	return fmt.Errorf("local: cannot send from UDP %q: %w (%s)", local, cause(err), advice)
}

// cause is the innermost error: package net would repeat the addresses.
func cause(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}
