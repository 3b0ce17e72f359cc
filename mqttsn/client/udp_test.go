package client

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"
)

// TestUDP goes over a real socket: a large message both ways, and a port that nobody
// listens on any more.
func TestUDP(t *testing.T) {
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		b := make([]byte, 65535)
		for {
			n, from, err := server.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			out := b[:n] // a PUBLISH comes back
			if p, err := mqttsn.Decode(b[:n]); err == nil && p.Type() == mqttsn.TypeConnect {
				out = mqttsn.Connack{}.Append(nil)
			}
			if _, err := server.WriteToUDPAddrPort(out, from); err != nil {
				return
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	refused := make(chan error, 10)
	c, err := Dial(ctx, server.LocalAddr().String(), Options{
		ClientID: "c", Tretry: 50 * time.Millisecond, Nretry: 1,
		OnError: func(err error) {
			select {
			case refused <- err:
			default:
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Connect(ctx, ConnectOptions{CleanSession: true}); err != nil {
		t.Fatal(err)
	}
	payload := bytes.Repeat([]byte("x"), 60000)
	if err := c.Publish(ctx, Predefined(1), payload, mqttsn.QoS0, false); err != nil {
		t.Fatal(err)
	}
	if m := <-c.Messages(); !bytes.Equal(m.Payload, payload) {
		t.Errorf("%d octets come back", len(m.Payload))
	}

	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	<-stopped
	if err := c.Disconnect(ctx); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("Disconnect: %v", err)
	}
	if err := <-refused; !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("reported: %v", err)
	}
}

func TestForwarded(t *testing.T) {
	near, far := newPipe(perfect)
	conn, err := Forwarded(near, []byte{0, 7})
	if err != nil {
		t.Fatal(err)
	}
	c := New(conn, Options{ClientID: "c"})
	defer c.Close()
	wrap := func(id string, p mqttsn.Packet) []byte {
		return mqttsn.Encapsulated{NodeID: []byte(id), Packet: p.Append(nil)}.Append(nil)
	}
	done := make(chan error, 1)
	go func() { done <- c.Connect(t.Context(), ConnectOptions{}) }()
	want := wrap("\x00\x07", mqttsn.Connect{ProtocolID: 1, ClientID: []byte("c")})
	if got := <-far.in; !bytes.Equal(got, want) {
		t.Errorf("client sends % X, want % X", got, want)
	}
	for _, b := range [][]byte{
		mqttsn.Connack{ReturnCode: 1}.Append(nil), // not in a frame
		wrap("\x07", mqttsn.Connack{ReturnCode: 2}),
		{5, 0xFE, 0, 0, 7},
		wrap("\x00\x07", mqttsn.Connack{}),
	} {
		if _, err := far.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("Connect: %v", err)
	}
	for _, id := range []string{"", strings.Repeat("x", 253)} {
		if _, err := Forwarded(near, []byte(id)); err == nil {
			t.Errorf("a node id of %d octets is accepted", len(id))
		}
	}
}
