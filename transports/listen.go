package transports

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// ValidateListen reports what is wrong with an address to listen at, HOST:PORT. Names are
// not resolved and no port is tried. port is the usual one, for the examples in the error.
func ValidateListen(listen, port string) error {
	bad := func(why string) error {
		return fmt.Errorf("%q is not allowed: %s; write HOST:PORT, such as 127.0.0.1:%s, [::1]:%[3]s or :%[3]s for every address", listen, why, port)
	}
	host, number, err := net.SplitHostPort(listen)
	if err != nil {
		return bad("it is no HOST:PORT")
	}
	if _, err := strconv.ParseUint(number, 10, 16); err != nil {
		return bad("the port is not a number from 0 to 65535")
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsMulticast() {
		return bad("it is a group address, which belongs into the groups of a UDP listener")
	}
	return nil
}
