package client

import (
	"context"

	"mqttsn-gateway/mqttsn"
)

// Gateway is what a GWINFO says.
type Gateway struct {
	ID byte
	// Address of the gateway if another client has answered for it; as received.
	Address []byte
}

// SearchGateway asks for a gateway and returns the first answer. radius is in hops, 0
// for the whole network; it is for the medium, and does nothing on a UDP socket that is
// connected to one gateway. Repetitions come after Tretry, twice that, and so on
// [SN-6.1].
func (c *Client) SearchGateway(ctx context.Context, radius byte) (Gateway, error) {
	if err := c.acquire(ctx, c.control); err != nil {
		return Gateway{}, err
	}
	defer func() { <-c.control }()
	x, err := c.beginControl(mqttsn.TypeSearchGW)
	if err != nil {
		return Gateway{}, err
	}
	defer c.end(x)
	a, err := c.ask(ctx, x, &mqttsn.SearchGW{Radius: radius}, mqttsn.TypeGWInfo)
	return a.gateway, err
}
