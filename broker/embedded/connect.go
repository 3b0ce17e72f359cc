package embedded

import (
	"cmp"
	"crypto/rand"
	"errors"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// connect handles the first packet, which must be a CONNECT [MQTT-3.1.0-1]. It reports
// whether the client is connected; if not, the connection is ending.
func (c *client) connect() bool {
	h, body, err := c.reader.Next()
	if err != nil {
		// Whoever it is does not speak MQTT, or has not spoken at all.
		c.unheard(err)
		c.gone = true
		return false
	}
	c.intake.packets++
	c.broker.stats.connects.Add(1)
	packet, err := c.decode(h, body, 0)
	if bad := (*mqtt.Error)(nil); errors.As(err, &bad) {
		if why := foreign([]byte{byte(h.Type)<<4 | h.Flags, byte(min(h.Length, 255))}); why != nil {
			c.failHandshake(why) // the first octet of TLS is almost that of CONNECT
			c.gone = true
			return false
		}
		c.refuseMalformed(bad)
		return false
	}
	p := packet.(*mqtt.Connect)
	c.version = p.Version
	c.take(p)
	id, code := c.clientID(p)
	if !code.Failed() {
		if no := c.authenticate(id, p); no != nil {
			return c.rebuff(p, no)
		}
	}
	if !code.Failed() && id == c.broker.options.ReservedClientID {
		return c.rebuff(p, &notOwn)
	}
	var o *attachment
	var why string // if there is more to say than the code does
	if !code.Failed() {
		o, code, why = c.attachment(p)
	}
	if !code.Failed() && o.will != nil && !c.origin().mayPublish(o.will.message.Topic) {
		return c.rebuff(p, &badWill)
	}
	if !code.Failed() && c.maxPacket > 0 && c.oversize(nil, c.connack.Append(nil, c.version)) {
		code = broker.CodePacketTooLarge
	}
	if !code.Failed() && !c.admit(id) {
		return false
	}
	if !code.Failed() {
		if code = c.broker.attach(id, c, o); code == broker.CodeNotAuthorized {
			return c.rebuff(p, &notOwn)
		}
	}
	if code.Failed() {
		why = cmp.Or(why, reasonString(mqtt.TypeConnack, code))
		c.turnAway(string(p.ClientID), code, why)
		c.refuse(code, why)
		return false
	}
	c.welcome(p)
	if l := c.badge; l != nil && l.generation != c.broker.options.Access.Generation() {
		c.review() // whoever has looked at all clients may not have seen this one
	}
	c.endBatch()
	return true
}

// rebuff refuses a CONNECT of somebody who has not shown that it may.
func (c *client) rebuff(p *mqtt.Connect, no *refusal) (connected bool) {
	c.turnAwayFor(string(p.ClientID), no)
	c.refuse(no.code, no.why)
	return false
}

// refuseMalformed answers a CONNECT that cannot be read, if its version has an answer
// for that.
func (c *client) refuseMalformed(bad *mqtt.Error) {
	c.version = bad.Version
	if c.version == 0 {
		c.version = mqtt.V311 // whose answer all versions can read
	}
	c.turnAway("", broker.Code(bad.Code), bad.Packet.String()+" "+bad.Field+" "+bad.Reason)
	if c.version == mqtt.V5 || bad.Refuse {
		// Without a reason string: the client's maximum packet size was not read.
		c.refuse(broker.Code(bad.Code), "")
	} else {
		c.gone = true // [MQTT-4.8.0-1]
	}
}

// refuse answers CONNECT with a failure, and lets the connection end [MQTT-3.2.2-7]. A
// client that takes no packet of that size finds it just closed.
func (c *client) refuse(code broker.Code, why string) {
	if b, ok, _ := c.out.open(anySize); ok {
		packet := mqtt.Connack{Code: mqtt.Code(code)}
		packet.Properties.ReasonString = c.fitting(why, connackSize)
		if with := packet.Append(b, c.version); c.oversize(b, with) {
			c.out.cancel()
		} else {
			c.out.done(with)
		}
	}
	c.end(code)
}

// connackSize is how long a CONNACK is without properties.
const connackSize = 5

// take takes what a CONNECT says about the connection alone.
func (c *client) take(p *mqtt.Connect) {
	props := &p.Properties
	c.maxPacket = int(props.MaximumPacketSize)
	c.maxAlias = min(props.TopicAliasMaximum.Or(0), uint16(c.broker.options.MaxTopicAliasBroker)) // [MQTT-3.3.2-11]
	c.unreasoned = !props.RequestProblem.Or(true)
	c.connack = &mqtt.Connack{}
	c.broker.options.announce(&c.connack.Properties)
}

// announce tells the limits that hold for all clients.
func (o *Options) announce(p *mqtt.ConnackProperties) {
	p.MaximumPacketSize = uint32(o.MaxPacketSize)
	if o.ReceiveMaximum < 65535 {
		p.ReceiveMaximum = uint16(o.ReceiveMaximum)
	}
	if o.MaxTopicAlias > 0 {
		p.TopicAliasMaximum = mqtt.Some(uint16(o.MaxTopicAlias))
	}
	if o.MaxQoS < 2 {
		p.MaximumQoS = mqtt.Some(mqtt.QoS(o.MaxQoS)) // [MQTT-3.2.2-9]
	}
	if o.MaxRetainedMessages == 0 {
		p.RetainAvailable = mqtt.Some(false)
	}
}

// attachment is what a CONNECT asks for, or why it cannot be had. It completes the answer
// as well.
func (c *client) attachment(p *mqtt.Connect) (o *attachment, code broker.Code, why string) {
	b, props := c.broker, &p.Properties
	if props.AuthenticationMethod != nil {
		return nil, codeAuthenticationMethod, "" // [MQTT-4.12.0-1]
	}
	o = &attachment{clean: p.CleanStart, mount: c.listener.mount, window: uint16(b.options.MaxInflightMessages)}
	if props.ReceiveMaximum > 0 {
		o.window = min(o.window, props.ReceiveMaximum) // [MQTT-3.3.4-9]
	}
	asked := sessionExpiry(props.SessionExpiry.Or(0))
	if p.Version < mqtt.V5 && !p.CleanStart {
		asked = b.longestExpiry()
	}
	if o.expiry = min(asked, b.longestExpiry()); o.expiry < asked {
		c.connack.Properties.SessionExpiry = mqtt.Some(uint32(o.expiry / time.Second))
	}
	c.lasting = o.expiry > 0
	if c.badge != nil {
		o.as.User, o.as.Identity = c.badge.user, c.badge.identity
		if c.badge.origin != nil {
			o.rights = c.badge.origin.rights
		}
	}
	if code := c.agreeKeepAlive(p.KeepAlive); code.Failed() {
		return nil, code, "the keep alive is above max_keepalive"
	}
	if !p.HasWill {
		return o, broker.CodeSuccess, ""
	}
	if p.Will.Retain && b.options.MaxRetainedMessages == 0 {
		return nil, codeRetainNotSupported, "" // [MQTT-3.2.2-13]
	}
	if int(p.Will.QoS) > b.options.MaxQoS {
		return nil, codeQoSNotSupported, "" // [MQTT-3.2.2-12]
	}
	o.will = c.listener.mount.will(newWill(&p.Will))
	o.will.message.leave(c.origin())
	return o, b.topics.mayPublish(o.will.message.Topic), ""
}

// agreeKeepAlive sees to the client's keep alive being no longer than allowed. Only MQTT 5
// can tell the client to use another one than it asked for; others are refused as
// Mosquitto refuses them.
func (c *client) agreeKeepAlive(seconds uint16) broker.Code {
	limit := uint16(c.broker.options.MaxKeepalive / time.Second)
	if limit > 0 && (seconds == 0 || seconds > limit) {
		if c.version < mqtt.V5 {
			return codeClientID
		}
		seconds = limit
		c.connack.Properties.ServerKeepAlive = mqtt.Some(limit) // [MQTT-3.2.2-21]
	}
	// One and a half times the keep alive [MQTT-3.1.2-22].
	c.keepAlive = time.Duration(seconds) * time.Second * 3 / 2
	return broker.CodeSuccess
}

func newWill(p *mqtt.Will) *will {
	props := &p.Properties
	w := &will{
		expiry: props.MessageExpiry,
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
	w.message.weigh()
	return w
}

// clientID is the client's, or one that it is given [MQTT-3.1.3-6].
func (c *client) clientID(p *mqtt.Connect) (string, broker.Code) {
	o := &c.broker.options
	switch {
	case len(p.ClientID) > 0:
		return string(p.ClientID), broker.CodeSuccess
	case !o.AllowZeroLengthClientID:
		return "", codeClientID // [MQTT-3.1.3-8]
	}
	id := o.AutoIDPrefix + rand.Text()
	c.connack.Properties.AssignedClientID = []byte(id) // [MQTT-3.1.3-7]
	return id, broker.CodeSuccess
}

// accept answers CONNECT, once the session is durable: line. Nothing is sent before it
// [MQTT-3.2.0-1].
func (c *client) accept(s *session, present bool) {
	c.session = s
	if s.will != nil {
		s.will.message.from = s.id
	}
	packet := c.connack
	c.connack = nil
	packet.SessionPresent = present // [MQTT-3.2.2-2]
	if b, ok := c.out.promise(connackPromise, s.mark()); ok {
		c.out.greeted = !c.out.holding
		c.out.done(packet.Append(b, c.version))
	}
	// Nobody else uses the reader's fields, but its goroutine holds the session's lock.
	if c.keepAlive > 0 {
		c.expectBy(time.Now().Add(c.keepAlive))
	} else {
		c.expectBy(time.Time{})
	}
}
