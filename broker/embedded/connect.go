package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// connect handles the first packet, which must be a CONNECT [MQTT-3.1.0-1]. It reports
// whether the client is connected; if not, the connection is ending.
func (c *client) connect() bool {
	h, body, err := c.reader.Next()
	if err != nil || h.Type != mqtt.TypeConnect {
		// Whoever it is does not speak MQTT, or has not spoken at all.
		c.gone = true
		return false
	}
	c.intake.packets++
	c.broker.stats.connects.Add(1)
	packet, err := c.decoder.Decode(h, body, 0)
	if bad := (*mqtt.Error)(nil); errors.As(err, &bad) {
		c.refuseMalformed(bad)
		return false
	}
	p := packet.(*mqtt.Connect)
	c.version = p.Version
	o, code := c.attachment(p)
	if !code.Failed() {
		code = c.broker.attach(c.clientID(p), c, o)
	}
	if code.Failed() {
		c.refuse(code)
		return false
	}
	if log := c.broker.log; log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug("MQTT client connected", "client", c.session.id, "remote", c.conn.RemoteAddr(),
			"version", c.version.String(), "clean", p.CleanStart, "keep_alive", p.KeepAlive)
	}
	c.endBatch()
	return true
}

// refuseMalformed answers a CONNECT that cannot be read, if its version has an answer
// for that.
func (c *client) refuseMalformed(bad *mqtt.Error) {
	c.version = bad.Version
	if c.version == 0 {
		c.version = mqtt.V311 // whose answer all versions can read
	}
	if c.version == mqtt.V5 || bad.Refuse {
		c.refuse(broker.Code(bad.Code))
	} else {
		c.gone = true // [MQTT-4.8.0-1]
	}
}

// refuse answers CONNECT with a failure, and lets the connection end [MQTT-3.2.2-7].
func (c *client) refuse(code broker.Code) {
	c.broker.log.Debug("MQTT client refused", "remote", c.conn.RemoteAddr(), "code", mqtt.Code(code).String())
	if b, ok, _ := c.out.open(anySize); ok {
		packet := mqtt.Connack{Code: mqtt.Code(code)}
		c.out.done(packet.Append(b, c.version))
	}
	c.end(code)
}

// attachment is what a CONNECT asks for. It prepares the answer as well.
func (c *client) attachment(p *mqtt.Connect) (*attachment, broker.Code) {
	b, props := c.broker, &p.Properties
	if props.AuthenticationMethod != nil {
		return nil, codeAuthenticationMethod
	}
	o := &attachment{clean: p.CleanStart, window: uint16(b.options.MaxInflightMessages)}
	if props.ReceiveMaximum > 0 {
		o.window = min(o.window, props.ReceiveMaximum) // [MQTT-3.3.4-9]
	}
	c.maxPacket = int(props.MaximumPacketSize)
	c.connack = &mqtt.Connack{}
	answer := &c.connack.Properties
	asked := time.Duration(props.SessionExpiry.Or(0)) * time.Second
	switch {
	case p.Version == mqtt.V5 && props.SessionExpiry.Or(0) == 0xFFFFFFFF:
		asked = forever
	case p.Version < mqtt.V5 && !p.CleanStart:
		asked = b.longestExpiry()
	}
	if o.expiry = min(asked, b.longestExpiry()); o.expiry < asked {
		answer.SessionExpiry = mqtt.Some(uint32(o.expiry / time.Second))
	}
	c.lasting = o.expiry > 0
	answer.MaximumPacketSize = uint32(b.options.MaxPacketSize)
	if b.options.MaxRetainedMessages == 0 {
		answer.RetainAvailable = mqtt.Some(false)
	}
	// One and a half times the keep alive [MQTT-3.1.2-22].
	c.keepAlive = time.Duration(p.KeepAlive) * time.Second * 3 / 2
	if !p.HasWill {
		return o, broker.CodeSuccess
	}
	if p.Will.Retain && b.options.MaxRetainedMessages == 0 {
		return nil, codeRetainNotSupported // [MQTT-3.2.2-13]
	}
	o.will = newWill(&p.Will)
	return o, b.topics.mayPublish(o.will.message.Topic)
}

func newWill(p *mqtt.Will) *will {
	props := &p.Properties
	w := &will{
		expiry: time.Duration(props.MessageExpiry.Or(0)) * time.Second,
		delay:  time.Duration(props.Delay.Or(0)) * time.Second,
	}
	w.message.Topic = string(p.Topic)
	w.message.Payload = append([]byte(nil), p.Payload...)
	w.message.QoS, w.message.Retain = byte(p.QoS), p.Retain
	w.message.properties = cloneProperties(passedOn(&mqtt.PublishProperties{
		PayloadFormat:   props.PayloadFormat,
		ResponseTopic:   props.ResponseTopic,
		CorrelationData: props.CorrelationData,
		ContentType:     props.ContentType,
		User:            props.User,
	}))
	return w
}

// clientID is the client's, or one that it is given [MQTT-3.1.3-6].
func (c *client) clientID(p *mqtt.Connect) string {
	if len(p.ClientID) > 0 {
		return string(p.ClientID)
	}
	id := "auto-" + rand.Text()
	c.connack.Properties.AssignedClientID = []byte(id) // [MQTT-3.1.3-7]
	return id
}

// accept answers CONNECT: line. Nothing is sent before it [MQTT-3.2.0-1].
func (c *client) accept(s *session, present bool) {
	c.session = s
	if s.will != nil {
		s.will.message.from = s.id
	}
	packet := c.connack
	c.connack = nil
	packet.SessionPresent = present // [MQTT-3.2.2-2]
	if b, ok, _ := c.out.open(anySize); ok {
		c.out.greeted = true
		c.out.done(packet.Append(b, c.version))
	}
	// Nobody else uses the reader's fields, but its goroutine holds the session's lock.
	if c.keepAlive > 0 {
		c.expectBy(time.Now().Add(c.keepAlive))
	} else {
		c.expectBy(time.Time{})
	}
}
