package mqtt

import "testing"

// TestSender tries properties that only one side sends; TestTypes and TestCodes do so
// for packet types and reason codes.
func TestSender(t *testing.T) {
	for _, c := range []struct {
		p    Packet
		from Sender // who may not send it
		want string
	}{
		{&Publish{Topic: []byte("t"), Properties: PublishProperties{SubscriptionIDs: []uint32{1}}}, FromClient,
			"82 PUBLISH Subscription Identifier: comes from a client"},
		{&Disconnect{Properties: DisconnectProperties{SessionExpiry: Some[uint32](1)}}, FromServer,
			"82 DISCONNECT Session Expiry Interval: comes from a server"},
		{&Disconnect{Properties: DisconnectProperties{ServerReference: []byte("s")}}, FromClient,
			"82 DISCONNECT Server Reference: comes from a client"},
		{&Connect{ClientID: []byte("c")}, FromServer, "82 CONNECT packet type: is not one that this side sends"},
		{&Suback{PacketID: 1, Codes: []Code{0}}, FromClient, "82 SUBACK packet type: is not one that this side sends"},
	} {
		h, body, _, err := Frame(c.p.Append(nil, V5), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range []Sender{FromAny, FromClient, FromServer} {
			d := Decoder{From: from}
			p, err := d.Decode(h, body, V5)
			switch {
			case from == c.from && (err == nil || renderError(err) != c.want):
				t.Errorf("%s from %d: %v, want %s", render(c.p), from, err, c.want)
			case from != c.from && (err != nil || render(p) == "" || p.Type() != c.p.Type()):
				t.Errorf("%s from %d: %v", render(c.p), from, err)
			}
		}
	}
}

func TestOptional(t *testing.T) {
	if got := Some[uint16](0).Or(5); got != 0 {
		t.Errorf("Some(0).Or(5) is %d", got)
	}
	if got := (Optional[uint16]{}).Or(5); got != 5 {
		t.Errorf("nothing.Or(5) is %d", got)
	}
}

func TestVersion(t *testing.T) {
	for v, want := range map[Version]string{V31: "3.1", V311: "3.1.1", V5: "5", 0: "unknown", 6: "unknown"} {
		if v.String() != want {
			t.Errorf("version %d is %q", byte(v), v)
		}
	}
}
