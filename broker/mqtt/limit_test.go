package mqtt

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// A packet with more filters than are allowed is refused, whatever follows.
func TestMaxFilters(t *testing.T) {
	filters := [][]byte{[]byte("a"), []byte("b"), []byte("c")}
	var ask Subscribe
	for _, f := range filters {
		ask.Subscriptions = append(ask.Subscriptions, Subscription{Filter: f})
	}
	ask.PacketID = 1
	for _, b := range [][]byte{ask.Append(nil, V5), (&Unsubscribe{PacketID: 1, Filters: filters}).Append(nil, V5)} {
		h, body, _, err := Frame(b, 0)
		if err != nil {
			t.Fatal(err)
		}
		for limit, ok := range map[int]bool{0: true, 2: false, 3: true} {
			d := Decoder{MaxFilters: limit}
			_, err := d.Decode(h, body, V5)
			if bad := (*Error)(nil); ok != (err == nil) || !ok && (!errors.As(err, &bad) || bad.Code != CodeQuota) {
				t.Errorf("%v with 3 filters, %d allowed: %v", h.Type, limit, err)
			}
		}
	}
}

// A Reader that accepts packets of one type refuses others before it waits for their end.
func TestReaderOnly(t *testing.T) {
	connect := (&Connect{Version: V5, ClientID: []byte("c")}).Append(nil, V5)
	r := NewReader(io.MultiReader(bytes.NewReader(connect), strings.NewReader("GET ")), 0)
	r.Only = TypeConnect
	if h, _, err := r.Next(); err != nil || h.Type != TypeConnect {
		t.Fatalf("read %v, %v", h, err)
	}
	_, _, err := r.Next()
	if bad := (*Error)(nil); !errors.As(err, &bad) || bad.Code != CodeProtocolError || bad.Packet != Type('G'>>4) {
		t.Errorf("GET: %v", err)
	}
}
