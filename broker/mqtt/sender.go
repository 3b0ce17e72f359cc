package mqtt

// Sender is the side that packets come from.
type Sender byte

// The senders.
const (
	FromAny    Sender = iota // not stated
	FromClient               // what a server receives
	FromServer               // what a client receives
)

// sent says for every packet type who may send it [MQTT 5, table 2-1].
var sent = [16]Sender{
	TypeConnect:     FromClient,
	TypeConnack:     FromServer,
	TypeSubscribe:   FromClient,
	TypeSuback:      FromServer,
	TypeUnsubscribe: FromClient,
	TypeUnsuback:    FromServer,
	TypePingreq:     FromClient,
	TypePingresp:    FromServer,
}

// checkSender judges whether the packet's sender may send it at all.
func (r *reader) checkSender() {
	if r.from == FromAny {
		return
	}
	by := sent[r.h.Type]
	if r.h.Type == TypeDisconnect && r.version < V5 {
		by = FromClient
	}
	if by != FromAny && by != r.from {
		r.protocolError("packet type", "is not one that this side sends")
	}
}

// side is the set that belongs to the sender, or both.
func (r *reader) side(client, server uint16) uint16 {
	switch r.from {
	case FromClient:
		return client
	case FromServer:
		return server
	default:
		return client | server
	}
}
