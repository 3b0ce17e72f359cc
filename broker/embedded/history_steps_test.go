package embedded

import (
	"fmt"
	"net"
	"slices"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// connected is who is connected with that client id, nil for nobody.
func (h *history) connected(id string) *actor {
	for _, a := range h.actors {
		if a.id == id && a.online {
			return a
		}
	}
	return nil
}

func (h *history) connect(a *actor) {
	clean, lasting := h.draw(3) == 0, h.draw(3) > 0
	if a.version != mqtt.V5 {
		lasting = !clean
	}
	var will *modelMessage
	if h.draw(2) == 0 {
		will = h.message(a)
	}
	want := modelConnect{clean: clean, lasting: lasting, will: will, window: historyWindow}
	if a.version == mqtt.V5 {
		want.window, want.small = 1+h.draw(2), h.draw(3) == 0
	}
	fmt.Fprintf(&h.log, "connects, %+v, will %+v", want, will)
	var before *peer
	other := h.connected(a.id)
	if other != nil {
		before = other.peer
	}
	again := other == a && a.device != nil
	wantPresent := h.model.connect(a.id, a.device != nil, again, &want)
	var present bool
	if a.device != nil {
		present = h.connectDevice(a, clean, will)
	} else {
		present = h.connectClient(a, &want)
	}
	if present != wantPresent {
		h.t.Fatalf("session present %v, want %v", present, wantPresent)
	}
	if other != nil && !again {
		h.robbed(other, before)
	}
	a.online = true
}

func (h *history) connectDevice(a *actor, clean bool, will *modelMessage) (present bool) {
	r := broker.Request{Op: broker.Connect, CleanSession: clean}
	if will != nil {
		r.Will = &broker.Message{Topic: will.topic, Payload: []byte(will.payload), QoS: will.qos, Retain: will.retain}
	}
	return h.ask(a, r).SessionPresent
}

func (h *history) connectClient(a *actor, want *modelConnect) (present bool) {
	c := &mqtt.Connect{ClientID: []byte(a.id), CleanStart: want.clean}
	c.Properties.TopicAliasMaximum = mqtt.Some(uint16(2))
	c.Properties.ReceiveMaximum = uint16(want.window)
	a.aliases = make(map[uint16]string)
	if want.lasting {
		c.Properties.SessionExpiry = mqtt.Some(uint32(3600))
	}
	if want.small {
		c.Properties.MaximumPacketSize = historyPacket
	}
	if will := want.will; will != nil {
		c.HasWill = true
		c.Will = mqtt.Will{Topic: []byte(will.topic), Payload: []byte(will.payload), QoS: mqtt.QoS(will.qos), Retain: will.retain}
	}
	near, far := net.Pipe()
	h.broker.serve(new(listener), far)
	a.peer = &peer{t: h.t, conn: near, version: a.version, reader: mqtt.NewReader(near, 0)}
	a.peer.send(c)
	return answer[*mqtt.Connack](h, a).SessionPresent
}

// robbed expects that somebody else has taken the session over.
func (h *history) robbed(a *actor, before *peer) {
	if a.device != nil {
		ev := a.device.next()
		if ev.Kind != broker.Closed || ev.Code != broker.CodeTakenOver {
			h.t.Fatalf("told %+v, want that the session was taken over", ev)
		}
		a.online = false
		return
	}
	h.finished(before, mqtt.CodeTakenOver)
	a.online = h.connected(a.id) == a && before != a.peer
	h.settled()
}

// finished reads the end of a connection, which MQTT 5 clients are told the reason of.
func (h *history) finished(p *peer, code mqtt.Code) {
	if p.version == mqtt.V5 {
		if d := expect[*mqtt.Disconnect](p); d.Code != code {
			h.t.Fatalf("DISCONNECT %v, want %v", d.Code, code)
		}
	}
	p.closed()
	p.conn.Close()
}

// settled waits until the broker has dealt with the end of connections.
func (h *history) settled() {
	online := 0
	for _, a := range h.actors {
		if a.online && a.device == nil {
			online++
		}
	}
	until(h.t, "connections end", func() bool { return h.broker.Stats().Connections == online })
}

// drop lets a client vanish.
func (h *history) drop(a *actor) {
	fmt.Fprint(&h.log, "vanishes")
	h.model.leave(a.id, true)
	a.online = false
	if a.device != nil {
		a.device.do(broker.Request{Op: broker.Abandon})
		h.broker.Flush()
		return
	}
	a.peer.conn.Close()
	h.settled()
}

func (h *history) disconnect(a *actor) {
	will := a.version == mqtt.V5 && h.draw(2) == 0
	fmt.Fprintf(&h.log, "disconnects, will %v", will)
	h.model.leave(a.id, will)
	a.online = false
	if a.device != nil {
		a.device.do(broker.Request{Op: broker.Disconnect})
		return
	}
	var d mqtt.Disconnect
	if will {
		d.Code = mqtt.CodeDisconnectWithWill
	}
	a.peer.send(&d)
	a.peer.closed()
	h.settled()
}

// rubbish is a packet that ends the connection.
func (h *history) rubbish(a *actor) {
	fmt.Fprint(&h.log, "sends rubbish")
	h.model.leave(a.id, true)
	a.online = false
	if _, err := a.peer.conn.Write([]byte("\x36\x06\x00\x01a\x00\x01\x00")); err != nil {
		h.t.Fatal(err)
	}
	h.finished(a.peer, mqtt.CodeMalformed)
	h.settled()
}

// filter draws a filter.
func (h *history) filter() string {
	return append([]string{"t/one", "t/+", "t/#", "r", "#", "+/one"}, historyShares...)[h.draw(8)]
}

func (h *history) subscribe(a *actor) {
	filter, handling := h.filter(), mqtt.RetainOnSubscribe
	sub := modelSubscription{qos: byte(h.draw(3))}
	if a.version == mqtt.V5 {
		sub.id, sub.noLocal, sub.retainAsPublished = uint32(h.draw(3)), h.draw(2) == 0, h.draw(2) == 0
		handling = mqtt.RetainHandling(h.draw(3))
		sub.noLocal = sub.noLocal && !slices.Contains(historyShares, filter) // [MQTT-3.8.3-4]
	}
	fmt.Fprintf(&h.log, "subscribes to %s %+v, retain handling %d", filter, sub, handling)
	h.model.subscribe(a.id, filter, sub, handling != mqtt.RetainNever, handling == mqtt.RetainOnSubscribe)
	if a.device != nil {
		h.ask(a, broker.Request{Op: broker.Subscribe, Topic: filter, QoS: sub.qos})
		return
	}
	a.peer.send(&mqtt.Subscribe{
		PacketID: 1, Properties: mqtt.SubscribeProperties{SubscriptionID: sub.id},
		Subscriptions: []mqtt.Subscription{{
			Filter: []byte(filter), QoS: mqtt.QoS(sub.qos), NoLocal: sub.noLocal,
			RetainAsPublished: sub.retainAsPublished, RetainHandling: handling,
		}},
	})
	if codes := answer[*mqtt.Suback](h, a).Codes; len(codes) != 1 || codes[0] != mqtt.Code(sub.qos) {
		h.t.Fatalf("SUBACK %v", codes)
	}
}

func (h *history) unsubscribe(a *actor) {
	filter := h.filter()
	fmt.Fprintf(&h.log, "unsubscribes from %s", filter)
	had := h.model.unsubscribe(a.id, filter)
	if a.device != nil {
		h.ask(a, broker.Request{Op: broker.Unsubscribe, Topic: filter})
		return
	}
	a.peer.send(&mqtt.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte(filter)}})
	code := answer[*mqtt.Unsuback](h, a).Codes
	if a.version == mqtt.V5 && (code[0] == mqtt.CodeSuccess) != had {
		h.t.Fatalf("UNSUBACK %v, subscribed %v", code, had)
	}
}

func (h *history) publish(a *actor) {
	m, id := h.message(a), uint16(1+h.draw(3))
	again := a.device == nil && m.qos > 0 && h.draw(2) == 0
	fmt.Fprintf(&h.log, "publishes %+v, id %d, again %v", *m, id, again)
	s := h.model.sessions[a.id]
	known := false
	if a.device == nil && m.qos == 2 {
		known, s.received[id] = s.received[id], true
	}
	want := mqtt.CodeSuccess
	if !known && !h.model.publish(m) {
		want = mqtt.CodeNoSubscribers
	}
	if a.device != nil {
		r := broker.Request{Op: broker.Publish, Topic: m.topic, Payload: []byte(m.payload), QoS: m.qos, Retain: m.retain}
		if m.qos == 0 {
			a.device.do(r)
			h.broker.Flush()
		} else if ev := h.ask(a, r); ev.Code != broker.Code(want) {
			h.t.Fatalf("answered %+v, want %v", ev, want)
		}
		return
	}
	a.peer.send(&mqtt.Publish{Topic: []byte(m.topic), Payload: []byte(m.payload), QoS: mqtt.QoS(m.qos), Retain: m.retain, PacketID: id, DUP: again})
	got := want
	switch m.qos {
	case 1:
		got = answer[*mqtt.Puback](h, a).Code
	case 2:
		got = answer[*mqtt.Pubrec](h, a).Code
	}
	if a.version == mqtt.V5 && got != want {
		h.t.Fatalf("acknowledged with %v, want %v", got, want)
	}
}

// release sends PUBREL for a QoS 2 message that the client has published, or not.
func (h *history) release(a *actor, id uint16) {
	fmt.Fprintf(&h.log, "releases %d", id)
	s := h.model.sessions[a.id]
	want := mqtt.CodeSuccess
	if !s.received[id] {
		want = mqtt.CodePacketIDNotFound
	}
	delete(s.received, id)
	a.peer.send(&mqtt.Pubrel{PacketID: id})
	if got := answer[*mqtt.Pubcomp](h, a).Code; a.version == mqtt.V5 && got != want {
		h.t.Fatalf("PUBCOMP %v, want %v", got, want)
	}
}

// persist lets a device's session survive a restart, whichever it is.
func (h *history) persist(a *actor) {
	fmt.Fprint(&h.log, "is persisted")
	s := h.model.sessions[a.id]
	s.persisted = h.model.stored && !s.lasting
	a.device.do(broker.Request{Op: broker.Persist})
}

// restart crashes the broker, and goes on with one that has what the store has.
func (h *history) restart() {
	fmt.Fprintln(&h.log, "the broker crashes")
	left := memory(h.broker.store).Crash()
	tidy(h.t, h.broker)
	for _, a := range h.actors {
		if a.online && a.device == nil {
			a.peer.conn.Close()
		}
		a.online, a.seen = false, nil
	}
	h.broker.clients.group.Wait()
	h.model.restart()
	h.broker = newStoreBroker(h.t, left, h.change)
	for _, a := range h.actors {
		if a.device != nil {
			a.device = open(h.t, h.broker, a.id)
		}
	}
	tidy(h.t, h.broker)
	h.compareCounters()
}

// acknowledge takes the next step for one of the deliveries in flight.
func (h *history) acknowledge(a *actor) {
	s := h.model.sessions[a.id]
	if s.flying() == 0 {
		return
	}
	d := s.queue[h.draw(s.flying())]
	fmt.Fprintf(&h.log, "acknowledges %+v", *d)
	switch {
	case a.device != nil:
		token := d.token
		if h.model.acked(a.id, d); !h.model.stored {
			token = broker.Token(d.id)
		}
		a.device.do(broker.Request{Op: broker.Ack, Token: token})
		h.broker.Flush()
	case d.qos == 1:
		h.model.acked(a.id, d)
		a.peer.send(&mqtt.Puback{PacketID: d.id})
	case d.released:
		h.model.acked(a.id, d)
		a.peer.send(&mqtt.Pubcomp{PacketID: d.id})
	case a.version == mqtt.V5 && h.draw(3) == 0:
		h.model.acked(a.id, d)
		a.peer.send(&mqtt.Pubrec{PacketID: d.id, Code: mqtt.CodeQuota})
	default:
		d.released, d.self = true, d
		s.out = append(s.out, *d)
		a.peer.send(&mqtt.Pubrec{PacketID: d.id})
	}
}
