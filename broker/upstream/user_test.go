package upstream

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"

	"mqttsn-gateway/broker"
)

func user(pairs ...string) []broker.UserProperty {
	var list []broker.UserProperty
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, broker.UserProperty{Name: []byte(pairs[i]), Value: []byte(pairs[i+1])})
	}
	return list
}

func wantUser(t *testing.T, got *packets.Publish, want ...string) {
	t.Helper()
	var list []string
	for _, u := range got.Properties.User {
		list = append(list, u.Key, u.Value)
	}
	if fmt.Sprint(list) != fmt.Sprint(want) {
		t.Errorf("%q has user properties %q, want %q", got.Payload, list, want)
	}
}

// Messages go to the broker with the user properties that the gateway gave them, also
// when they are sent again.
func TestUserProperties(t *testing.T) {
	_, f, d, p := exchange(t, nil, false)
	list := user("client", "c", "hop", "udp")
	for qos := range byte(3) {
		d.do(broker.Request{Op: broker.Publish, Token: 7, Topic: "t", Payload: []byte("m"), QoS: qos, User: list})
		got := p.publish("m", qos, false)
		wantUser(t, got, "client", "c", "hop", "udp")
		switch qos {
		case 1:
			p.puback(got.PacketID, 0)
			d.answer(7, 0)
		case 2:
			p.close()
			p = f.next()
			p.connack(0, true, nil)
			wantUser(t, p.publish("m", qos, true), "client", "c", "hop", "udp")
			p.pubrec(got.PacketID, 0)
			p.want(packets.PUBREL)
			p.pubcomp(got.PacketID)
			d.answer(7, 0)
		}
	}
	d.publish(8, "t", "plain", 0)
	wantUser(t, p.publish("plain", 0, false))
}

// The will has the latest properties that the gateway gave it.
func TestUserPropertiesOfAWill(t *testing.T) {
	for what, abandon := range map[string][]broker.UserProperty{"as it was": nil, "as it is": user("hop", "new")} {
		_, _, d, p := exchange(t, nil, true)
		d.do(broker.Request{Op: broker.SetWill, Will: will(1), User: user("hop", "old")})
		d.do(broker.Request{Op: broker.Abandon, User: abandon})
		got := p.publish("gone", 1, false)
		if abandon == nil {
			wantUser(t, got, "hop", "old")
		} else {
			wantUser(t, got, "hop", "new")
		}
		if t.Failed() {
			t.Fatal(what)
		}
	}
}

// A message that is too large for the broker with them goes without them.
func TestUserPropertiesGiveWay(t *testing.T) {
	f := startFake(t)
	b := serve(t, quick(f.address))
	d := b.open(t, "c")
	d.do(broker.Request{Op: broker.Connect, Token: 1, Will: will(0), User: user("hop", strings.Repeat("x", 100))})
	p := f.next()
	size := uint32(60)
	p.connack(0, false, &packets.Properties{MaximumPacketSize: &size})
	d.answer(1, 0)
	for qos := range byte(2) {
		d.do(broker.Request{Op: broker.Publish, Token: 7, Topic: "t", Payload: []byte("m"), QoS: qos, User: user("hop", strings.Repeat("x", 50))})
		wantUser(t, p.publish("m", qos, false))
		d.do(broker.Request{Op: broker.Publish, Token: 8, Topic: "t", Payload: []byte("m"), QoS: qos, User: user("hop", "short")})
		wantUser(t, p.publish("m", qos, false), "hop", "short")
	}
	d.do(broker.Request{Op: broker.Abandon})
	wantUser(t, p.publish("gone", 0, false))
}
