package gateway

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// BenchmarkStrangers is what one packet of an address costs that is never seen again, when all
// that strangers may have is used up: what a flood costs.
func BenchmarkStrangers(b *testing.B) {
	for _, c := range []struct {
		name string
		data []byte
	}{
		{"junk", []byte{7, 0x99, 1, 2, 3, 4, 5}},
		{"length", []byte{9, 0x0C, 1}},
		{"CONNECT", connect("newcomer").Append(nil)},
		{"SEARCHGW", mqttsn.SearchGW{Radius: 1}.Append(nil)},
		{"PINGREQ", mqttsn.Pingreq{}.Append(nil)},
		{"PINGREQ_id", mqttsn.Pingreq{ClientID: []byte("nobody")}.Append(nil)},
		{"QoS_minus_one", mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")}.Append(nil)},
		{"PUBLISH", mqttsn.Publish{QoS: 1, MsgID: 1, TopicIDType: mqttsn.TopicShort, TopicID: shortTopic("ab")}.Append(nil)},
	} {
		b.Run(c.name, func(b *testing.B) {
			const batchSize = 64
			g := benchmarkGateway(b, 1000)
			g.connects.bucket = bucket{rate: 1e-9, burst: 1}
			g.anonymous.rate = bucket{rate: 1e-9, burst: 1}
			g.intakes[0].searchers.all = bucket{rate: 1e-9, burst: 1}
			g.intakes[0].strangers.all = bucket{rate: 1e-9, burst: 1}
			batch := make([]transports.Datagram, batchSize)
			b.ReportAllocs()
			n := uint32(0)
			for b.Loop() {
				from := [4]byte{}
				binary.BigEndian.PutUint32(from[:], n*2654435761)
				from[0] = 20
				batch[n%batchSize] = transports.Datagram{Addr: transports.IPAddr(netip.AddrPortFrom(netip.AddrFrom4(from), uint16(n)), 0), Data: c.data}
				if n++; n%batchSize == 0 {
					g.intakes[0].receive(batch)
				}
			}
		})
	}
}
