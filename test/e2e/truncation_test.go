package e2e

// sample is one good message and the shortest length that its type can have.
type sample struct {
	notation string
	shortest int
	// never are further lengths that the type cannot have.
	never []int
}

// samples has every message type [SN-5.2.2], those that only a gateway sends included.
var samples = []sample{
	{notation: "05 00 01 03 84", shortest: 5},                        // ADVERTISE
	{notation: "03 01 01", shortest: 3},                              // SEARCHGW
	{notation: "09 02 01 0A 00 00 05 27 10", shortest: 3},            // GWINFO
	{notation: "0B 04 04 01 00 3C 'cli-1'", shortest: 6},             // CONNECT
	{notation: "03 05 00", shortest: 3},                              // CONNACK
	{notation: "02 06", shortest: 2},                                 // WILLTOPICREQ
	{notation: "0A 07 30 'w/dead1'", shortest: 2},                    // WILLTOPIC
	{notation: "02 08", shortest: 2},                                 // WILLMSGREQ
	{notation: "06 09 'bye!'", shortest: 2},                          // WILLMSG
	{notation: "0C 0A 00 00 00 01 's/temp'", shortest: 6},            // REGISTER
	{notation: "07 0B 00 05 00 01 00", shortest: 7},                  // REGACK
	{notation: "09 0C 20 00 05 00 07 'hi'", shortest: 7},             // PUBLISH QoS 1
	{notation: "09 0C 62 'ab' 00 00 'hi'", shortest: 7},              // PUBLISH QoS -1
	{notation: "07 0D 00 05 00 07 00", shortest: 7},                  // PUBACK
	{notation: "04 0E 00 08", shortest: 4},                           // PUBCOMP
	{notation: "04 0F 00 08", shortest: 4},                           // PUBREC
	{notation: "04 10 00 08", shortest: 4},                           // PUBREL
	{notation: "0B 12 20 00 03 's/temp'", shortest: 6},               // SUBSCRIBE, a name
	{notation: "07 12 21 00 05 00 0A", shortest: 7, never: []int{8}}, // predefined
	{notation: "07 12 02 00 06 'ab'", shortest: 7, never: []int{8}},  // short
	{notation: "08 13 20 00 05 00 03 00", shortest: 8},               // SUBACK
	{notation: "0B 14 00 00 0A 's/temp'", shortest: 6},               // UNSUBSCRIBE
	{notation: "07 14 01 00 0B 00 0A", shortest: 7, never: []int{8}},
	{notation: "07 14 02 00 0C 'ab'", shortest: 7, never: []int{8}},
	{notation: "04 15 00 0A", shortest: 4},                     // UNSUBACK
	{notation: "07 16 'cli-1'", shortest: 2},                   // PINGREQ
	{notation: "02 17", shortest: 2},                           // PINGRESP
	{notation: "04 18 00 3C", shortest: 2, never: []int{3, 5}}, // DISCONNECT
	{notation: "0A 1A 20 'w/dead2'", shortest: 2},              // WILLTOPICUPD
	{notation: "03 1B 00", shortest: 3},                        // WILLTOPICRESP
	{notation: "05 1C 'new'", shortest: 2},                     // WILLMSGUPD
	{notation: "03 1D 00", shortest: 3},                        // WILLMSGRESP
	{notation: "04 FE 00 2A 02 16", shortest: 6},               // forwarder encapsulation
	{notation: "05 FE 01 00 07 0B 04 04 01 00 3C 'cli-1'", shortest: 16},
}

// truncated are all samples cut at every length: with the Length field as it was, in
// short and long form, and with a Length field that agrees but is too short for the type.
func truncated(r *rig) [][]byte {
	r.Helper()
	var all [][]byte
	for _, s := range samples {
		b, err := encode(s.notation, nil)
		if err != nil {
			r.Fatal(err)
		}
		long := append([]byte{1, 0, byte(len(b) + 2)}, b[1:]...)
		for n := range b {
			all = append(all, b[:n])
		}
		if b[1] == 0xFE { // its Length is not the datagram's, and it has no long form [SN-5.5]
			continue
		}
		for n := range long {
			all = append(all, long[:n])
		}
		lengths := s.never
		for n := 2; n < s.shortest; n++ {
			lengths = append(lengths, n)
		}
		for _, n := range lengths {
			cut := make([]byte, n-1)
			copy(cut, b[1:])
			all = append(all, frame(cut))
		}
	}
	return all
}

// situation is a state that a client can be in at the gateway, with what is going on.
type situation struct {
	name string
	// enter brings the device there.
	enter func(r *rig, d *device)
	// proceed shows that it is still there.
	proceed func(r *rig, d *device)
}

func (d *device) own() string { return "s/" + d.id }

// ready connects the device and subscribes to its own topic.
func ready(d *device, flags byte) {
	d.t.Helper()
	d.connect(flags, minute)
	d.subscribe(d.own(), 1)
}

var situations = []situation{
	{"unknown", func(*rig, *device) {}, func(_ *rig, d *device) { d.ask("02 16", "02 18") }},
	{"asked-for-will-topic", func(_ *rig, d *device) {
		d.ask(d.connectFrame(cleanSession|withWill, minute), "02 06")
	}, func(_ *rig, d *device) {
		d.ask("0A 07 30 'w/dead1'", "02 08")
		d.ask("06 09 'bye!'", "03 05 00")
	}},
	{"asked-for-will-message", func(_ *rig, d *device) {
		d.ask(d.connectFrame(cleanSession|withWill, minute), "02 06")
		d.ask("0A 07 30 'w/dead1'", "02 08")
	}, func(_ *rig, d *device) { d.ask("06 09 'bye!'", "03 05 00") }},
	{"active", func(_ *rig, d *device) { ready(d, cleanSession) }, func(r *rig, d *device) {
		r.publish(d.own(), "hi", 1)
		d.receive(d.own(), "hi", 1)
		d.alive()
	}},
	{"publishing-qos2", func(_ *rig, d *device) {
		d.connect(cleanSession, minute)
		d.register(d.own())
		d.ask("__ 0C 40 {"+d.own()+"} 00 08 'hi'", "04 0F 00 08")
	}, func(_ *rig, d *device) { d.ask("04 10 00 08", "04 0E 00 08") }},
	{"asked-for-regack", func(r *rig, d *device) {
		d.connect(cleanSession, minute)
		d.subscribeAll(d.own()+"/#", 1)
		r.publish(d.own()+"/x", "hi", 1)
		d.expect("__ 0A {tid} {mid} " + octets(d.own()+"/x"))
	}, func(_ *rig, d *device) {
		d.ask("07 0B {tid} {mid} 00", "__ 0C 20 {tid} {pub} 'hi'")
		d.tell("07 0D {tid} {pub} 00")
		d.alive()
	}},
	{"asked-for-puback", func(r *rig, d *device) {
		ready(d, cleanSession)
		r.publish(d.own(), "one", 1)
		d.expect("__ 0C 20 {" + d.own() + "} {mid} 'one'")
		r.publish(d.own(), "two", 1)
	}, func(_ *rig, d *device) {
		d.tell("07 0D {" + d.own() + "} {mid} 00")
		d.receive(d.own(), "two", 1)
		d.alive()
	}},
	{"asleep", func(r *rig, d *device) {
		ready(d, cleanSession)
		d.sleep(60)
		r.leave(d.own(), "hi", 1)
	}, func(_ *rig, d *device) {
		d.tell(d.wakeFrame())
		d.receive(d.own(), "hi", 1)
		d.expect("02 17")
	}},
	{"awake", func(r *rig, d *device) {
		ready(d, cleanSession)
		d.sleep(60)
		r.leave(d.own(), "hi", 1)
		d.ask(d.wakeFrame(), "__ 0C 20 {"+d.own()+"} {mid} 'hi'")
	}, func(_ *rig, d *device) { d.ask("07 0D {"+d.own()+"} {mid} 00", "02 17") }},
	{"disconnected", func(r *rig, d *device) {
		ready(d, keepSession)
		d.disconnect()
		r.publish(d.own(), "hi", 1)
	}, func(_ *rig, d *device) {
		d.ask(d.wakeFrame(), "02 18")
		d.connect(keepSession, minute)
		d.receive(d.own(), "hi", 1)
		d.alive()
	}},
}

// truncations sends every message type, truncated at every length, in every state: no
// answer, no change of state, and a healthy client does not notice.
func truncations(r *rig) {
	healthy := r.device("healthy")
	ready(healthy, cleanSession)
	bad := truncated(r)
	r.Logf("%d truncated datagrams in each of %d states", len(bad), len(situations))
	for _, s := range situations {
		d := r.device(s.name)
		s.enter(r, d)
		for i, b := range bad {
			d.write(b)
			if i%100 == 0 { // no faster than the gateway reads
				healthy.ask("02 16", "02 17")
			}
		}
		healthy.ask("02 16", "02 17")
		d.silent(moment)
		s.proceed(r, d)
		r.publish(healthy.own(), s.name, 1)
		healthy.receive(healthy.own(), s.name, 1)
	}
	if drops, least := r.metric("drops_total"), float64(len(bad)*len(situations)); drops < least*0.9 {
		r.Errorf("%v drops are counted of %v bad datagrams", drops, least)
	}
}
