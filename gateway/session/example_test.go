package session_test

import (
	"fmt"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/session"
	"mqttsn-gateway/mqttsn"
)

// A caller steps the session, does what the Effects say, and asks for the deadline.
func Example() {
	options := session.DefaultOptions()
	s := session.New("sensor-1", &options, 0)
	var fx session.Effects
	now := time.Now()

	do := func() {
		for i := range fx.Requests {
			fmt.Println("to the broker: operation", fx.Requests[i].Op)
		}
		for b := range fx.Packets() {
			p, _ := mqttsn.Decode(b)
			fmt.Println("to the client:", p.Type())
		}
		fx.Reset()
	}

	s.Packet(now, &mqttsn.Connect{ProtocolID: mqttsn.ProtocolID, Duration: 60, ClientID: []byte("sensor-1")}, &fx)
	token := fx.Requests[0].Token
	do()
	s.Broker(now, broker.Event{Kind: broker.Answered, Token: token}, &fx)
	do()
	fmt.Println("if nothing is heard for", s.Deadline().Sub(now))
	s.Expire(s.Deadline(), &fx)
	do()
	fmt.Println("the client is", s.State())
	// Output:
	// to the broker: operation 1
	// to the client: CONNACK
	// if nothing is heard for 1m30s
	// to the broker: operation 8
	// to the client: DISCONNECT
	// the client is lost
}
