package mqtt_test

import (
	"bytes"
	"errors"
	"fmt"

	"mqttsn-gateway/broker/mqtt"
)

// A server's side of a connection, reduced to what this package is for.
func Example() {
	var in []byte // what a client sends
	in = (&mqtt.Connect{CleanStart: true, ClientID: []byte("sensor-1")}).Append(in, mqtt.V5)
	in = (&mqtt.Publish{QoS: mqtt.QoS1, Topic: []byte("a/b"), PacketID: 7, Payload: []byte("on")}).Append(in, mqtt.V5)
	in = append(in, 0x32, 0x05, 0x00, 0x01, '#', 0x00, 0x01)

	var out []byte
	var v mqtt.Version
	r := mqtt.NewReader(bytes.NewReader(in), 1<<16)
	d := mqtt.Decoder{From: mqtt.FromClient}
	for {
		h, body, err := r.Next()
		if err != nil {
			break // and tell the client, if it is an *mqtt.Error
		}
		p, err := d.Decode(h, body, v)
		var e *mqtt.Error
		if errors.As(err, &e) {
			fmt.Println(e)
			out = (&mqtt.Disconnect{Code: e.Code}).Append(out, v)
			break
		}
		switch p := p.(type) {
		case *mqtt.Connect:
			v = p.Version
			out = (&mqtt.Connack{}).Append(out, v)
		case *mqtt.Publish:
			fmt.Printf("%s: %s\n", p.Topic, p.Payload)
			out = (&mqtt.Puback{PacketID: p.PacketID}).Append(out, v)
		}
	}
	fmt.Printf("% X\n", out)
	// Output:
	// a/b: on
	// mqtt: PUBLISH topic name: has a wildcard
	// 20 03 00 00 00 40 02 00 07 E0 01 81
}
