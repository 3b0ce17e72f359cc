package xbee

import "fmt"

// Delivery is what became of data that a radio was asked to send.
type Delivery byte

// The deliveries that somebody acts upon. String knows more.
const (
	Delivered       Delivery = 0x00
	NoMACAck        Delivery = 0x01
	ChannelBusy     Delivery = 0x02
	NoNetworkAck    Delivery = 0x21
	NotJoined       Delivery = 0x22
	SelfAddressed   Delivery = 0x23
	AddressNotFound Delivery = 0x24
	RouteNotFound   Delivery = 0x25
	PayloadTooLarge Delivery = 0x74
)

var deliveries = map[Delivery]string{
	Delivered:       "delivered",
	NoMACAck:        "no MAC acknowledgement",
	ChannelBusy:     "channel not clear",
	0x03:            "not requested by the sleeping radio in time",
	0x04:            "transceiver could not send",
	0x15:            "invalid destination endpoint",
	NoNetworkAck:    "no network acknowledgement",
	NotJoined:       "not joined to a network",
	SelfAddressed:   "addressed to the radio itself",
	AddressNotFound: "address not found",
	RouteNotFound:   "route not found",
	0x26:            "no neighbour relayed the broadcast",
	0x2B:            "invalid binding table index",
	0x2C:            "radio out of resources",
	0x2D:            "broadcast with APS transmission",
	0x2E:            "APS transmission without encryption enabled",
	0x31:            "internal error",
	0x32:            "radio out of resources",
	0x34:            "no secure session",
	0x35:            "encryption failed",
	PayloadTooLarge: "payload too large",
	0x75:            "not requested by the sleeping radio in time",
}

// String is the meaning, such as "route not found", or "delivery status 0x99".
func (d Delivery) String() string {
	if s, ok := deliveries[d]; ok {
		return s
	}
	return fmt.Sprintf("delivery status 0x%02X", byte(d))
}

// Stale reports whether the 16-bit address used may be why, so that the next try is
// better made with Unknown16.
func (d Delivery) Stale() bool {
	return d == NoNetworkAck || d == AddressNotFound || d == RouteNotFound
}
