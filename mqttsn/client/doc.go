// Package client is a small MQTT-SN 1.2 client over any connection that keeps datagrams
// apart.
//
//	c, err := client.Dial(ctx, "192.0.2.1:1883", client.Options{ClientID: "sensor-1"})
//	...
//	defer c.Close()
//	err = c.Connect(ctx, client.ConnectOptions{CleanSession: true, KeepAlive: time.Minute})
//	err = c.Publish(ctx, client.Named("sensors/1/temperature"), []byte("21.5"), mqttsn.QoS1, false)
//	_, err = c.Subscribe(ctx, client.Named("sensors/1/+"), mqttsn.QoS1)
//	for m := range c.Messages() {
//		...
//	}
//
// A call that asks the gateway something returns when the answer is there. Until then
// it sends again after Tretry, at most Nretry times, as clause 6.13 asks of a client; the
// context ends it earlier. A refusal is a [*ReturnCodeError], silence an [ErrNoAnswer].
//
// A client has one goroutine, which reads. It answers what the gateway asks, keeps the
// topic ids, sorts out QoS 2 duplicates and hands out messages. A QoS 1 or 2 message is
// acknowledged when it has been handed out and not before: while nobody takes messages
// the gateway keeps them.
package client
