package gateway

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/gateway/session"
	"mqttsn-gateway/mqttsn"
)

// everyType is one packet of each type that somebody might send in another's name.
func everyType(id string) []mqttsn.Packet {
	ab := shortTopic("ab")
	short := mqttsn.TopicShort
	return []mqttsn.Packet{
		mqttsn.Advertise{GatewayID: 9, Duration: 900}, mqttsn.SearchGW{Radius: 1}, mqttsn.GWInfo{GatewayID: 9},
		resume(id), mqttsn.Connect{ProtocolID: 1, Duration: 60, Will: true, ClientID: []byte(id)},
		mqttsn.Connack{}, mqttsn.WillTopicReq{}, mqttsn.WillTopic{Topic: []byte("w")}, mqttsn.WillMsgReq{}, mqttsn.WillMsg{Message: []byte("m")},
		mqttsn.Register{MsgID: 1, TopicName: []byte("n")}, mqttsn.Regack{MsgID: 1},
		mqttsn.Publish{QoS: mqttsn.QoSMinusOne, TopicIDType: short, TopicID: ab}, mqttsn.Publish{TopicIDType: short, TopicID: ab},
		mqttsn.Publish{QoS: 1, MsgID: 7, TopicIDType: short, TopicID: ab}, mqttsn.Publish{QoS: 2, MsgID: 8, TopicIDType: short, TopicID: ab},
		mqttsn.Publish{QoS: 1, MsgID: 9, TopicID: 4711},
		mqttsn.Puback{MsgID: 1}, mqttsn.Pubrec{MsgID: 1}, mqttsn.Pubrel{MsgID: 1}, mqttsn.Pubcomp{MsgID: 1},
		mqttsn.Subscribe{QoS: 2, MsgID: 3, TopicName: []byte("#")}, mqttsn.Subscribe{QoS: 0, MsgID: 4, TopicIDType: short, TopicID: ab},
		mqttsn.Subscribe{QoS: 2, MsgID: 3, TopicName: []byte("news/of/the/day")}, mqttsn.Unsubscribe{MsgID: 4, TopicName: []byte("#")},
		mqttsn.Pingreq{}, mqttsn.Pingreq{ClientID: []byte(id)}, mqttsn.Pingresp{}, mqttsn.Disconnect{}, asleep(60),
		mqttsn.WillTopicUpd{Topic: []byte("w")}, mqttsn.WillMsgUpd{Message: []byte("m")},
	}
}

// Whoever sends in the name of an address has at most three times as much sent there,
// whatever packet and state, with large messages for what it has subscribed to and
// everything repeated that is repeated. The table has what came of the whole.
func TestAttackReflection(t *testing.T) {
	lossOf := mqttsn.Connect{ProtocolID: 1, Duration: 1, ClientID: []byte("?")}
	states := []struct {
		name  string
		steps []mqttsn.Packet
		wait  time.Duration
	}{
		{name: "unknown"},
		{"awaiting will topic", []mqttsn.Packet{willing()}, 0},
		{"awaiting will msg", []mqttsn.Packet{willing(), mqttsn.WillTopic{Topic: []byte("w")}}, 0},
		{"active", []mqttsn.Packet{resume("x")}, 0},
		{"subscribed", []mqttsn.Packet{resume("x"), mqttsn.Subscribe{QoS: 2, MsgID: 1, TopicName: []byte("#")}}, 0},
		{"subscribed QoS 0", []mqttsn.Packet{resume("x"), mqttsn.Subscribe{QoS: 0, MsgID: 1, TopicName: []byte("news/#")}}, 0},
		{"asleep", []mqttsn.Packet{resume("x"), mqttsn.Subscribe{QoS: 2, MsgID: 1, TopicName: []byte("#")}, asleep(600)}, 0},
		{"disconnected", []mqttsn.Packet{resume("x"), mqttsn.Subscribe{QoS: 2, MsgID: 1, TopicName: []byte("#")}, mqttsn.Disconnect{}}, 0},
		{"lost", []mqttsn.Packet{lossOf}, 10 * time.Second},
	}
	for _, node := range []string{"", "wireless"} {
		worst := make(map[string][]string)
		var names []string
		timed(t, func(o *Options) {
			o.Session.MaxAmplification, o.ConnectRate, o.ConnectRatePerPrefix, o.MaxClients = 3, 1_000_000, 1_000_000, 100_000
			o.ForwarderRate = 1_000_000
		}, func(r *rig) {
			in, n := make(map[int]int), 0
			outTo := func(peer int) (octets int) {
				synctest.Wait()
				r.link.mu.Lock()
				defer r.link.mu.Unlock()
				for i, data := range r.link.sent {
					if r.link.to[i] == addr(peer) {
						octets += len(data)
					}
				}
				return octets
			}
			send := func(peer int, p mqttsn.Packet) int {
				// Each address has its own client.
				switch c := p.(type) {
				case mqttsn.Connect:
					c.ClientID = fmt.Appendf(nil, "x%d", peer)
					p = c
				case mqttsn.Pingreq:
					if len(c.ClientID) > 0 {
						c.ClientID = fmt.Appendf(nil, "x%d", peer)
						p = c
					}
				}
				if node != "" {
					p = behind(node, p)
				}
				in[peer] += len(p.Append(nil))
				r.from(peer, p)
				return len(p.Append(nil))
			}
			flood := func() {
				for qos := range byte(3) {
					for _, topic := range []string{"ab", "news/of/the/day"} {
						r.broker.Publish(topic, make([]byte, 1000), qos, false)
					}
				}
				r.gateway.settle()
			}
			for si, state := range states {
				for pi, p := range everyType("x") {
					peer := 1000*(si+1) + pi
					for _, step := range state.steps {
						send(peer, step)
					}
					if state.wait > 0 {
						<-time.After(state.wait)
					}
					before := outTo(peer)
					size := send(peer, p)
					<-time.After(2 * time.Second) // GWINFO takes its time
					answer := float64(outTo(peer)-before) / float64(size)
					name := fmt.Sprintf("%d %v, %d octets", pi+1, p.Type(), size)
					if si == 0 {
						names = append(names, name)
					}
					if state.name == "unknown" && answer > 1.5 {
						t.Errorf("%s of an unknown peer is answered with %.2f times the octets", name, answer)
					}
					n++
				}
			}
			flood()
			<-time.After(time.Hour)
			flood()
			<-time.After(time.Hour)
			most := 0.0
			for si := range states {
				for pi := range names {
					peer := 1000*(si+1) + pi
					factor := float64(outTo(peer)) / float64(in[peer])
					most = max(most, factor)
					worst[names[pi]] = append(worst[names[pi]], fmt.Sprintf("%.2f", factor))
					if factor > 3 {
						t.Errorf("%s in state %q: %d octets sent for %d", names[pi], states[si].name, outTo(peer), in[peer])
					}
				}
			}
			var table strings.Builder
			for _, state := range states {
				fmt.Fprintf(&table, " | %s", state.name)
			}
			for _, name := range names {
				fmt.Fprintf(&table, "\n%-28s %s", name, strings.Join(worst[name], "  "))
			}
			st := r.gateway.Stats()
			t.Logf("A5, T-S4, node %q: %d cases, octets sent for each that came, with the packets that led to the state and two hours of large messages; at most %.2f; %d messages waited for a proof, %d probes\n%s",
				node, n, most, st.Unproven, st.Probes, table.String())
			if st.Unproven == 0 || st.Sessions[session.Active.String()] != 0 && st.Probes == 0 {
				t.Error("nothing had to wait: the test shows nothing")
			}
		})
	}
}
