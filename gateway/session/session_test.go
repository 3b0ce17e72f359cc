package session

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// The state changes only in state.go, where each transition has a name.
func TestStateChangesOnlyInStateFile(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if file == "state.go" || strings.HasSuffix(file, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		tree, err := parser.ParseFile(fset, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			if a, ok := n.(*ast.AssignStmt); ok {
				for _, l := range a.Lhs {
					if sel, ok := l.(*ast.SelectorExpr); ok && sel.Sel.Name == "state" {
						t.Errorf("%v: the state is set outside of state.go", fset.Position(n.Pos()))
					}
				}
			}
			return true
		})
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for st := range States {
		seen[State(st).String()] = true
	}
	for r := range Reasons {
		seen[Reason(r).String()] = true
	}
	if seen[""] || len(seen) != States+Reasons {
		t.Errorf("states and reasons need names of their own: %v", seen)
	}
}

// N10: the MsgIds of the gateway go round without 0, and not over one that is in use.
func TestMsgIDsGoRound(t *testing.T) {
	b := newBench(t, false)
	m := &broker.Message{Topic: "plant/7/line/3/setpoint", QoS: 1}
	seen := map[uint16]int{}
	for range 70000 {
		b.deliver(m, 1, 1)
		id := b.sent()
		seen[id]++
		b.packet(&mqttsn.Puback{MsgID: id, TopicID: subscribeID(b)})
		b.fx.Reset()
	}
	if seen[0] > 0 || len(seen) != 65535 {
		t.Errorf("%d different MsgIds, 0 was used %d times", len(seen), seen[0])
	}
	after := func(n uint16) uint16 { return n + b.s.stride }
	b.s.hand.msgID, b.s.msgID = after(16), 16
	if id := b.s.nextMsgID(); id != after(after(16)) {
		t.Errorf("after 16, with %d in use, comes %d", after(16), id)
	}
}

// Whatever a session begins with, its MsgIds are far from each other, and all have their turn.
func TestStrides(t *testing.T) {
	o := DefaultOptions()
	for seed := 1; seed < 1<<16; seed++ {
		if n := New("a", &o, uint16(seed)).stride; n%2 == 0 || n < 1<<14 || n > 3<<14 {
			t.Fatalf("with seed %d the stride is %d", seed, n)
		}
	}
	if n := New("a", &o, 0).stride; n != 1 {
		t.Errorf("without a seed the stride is %d", n)
	}
}

// R09, A46: topic ids go round without 0x0000 and 0xFFFF, and none is given to another
// name while it is in use.
func TestTopicIDsGoRound(t *testing.T) {
	ts := topics{last: 65530}
	keep := ts.add("kept", 10)
	keep.is |= pinned
	kept := keep.id
	seen := map[uint16]bool{}
	for i := range 70000 {
		topic := ts.add(fmt.Sprint("name ", i), 10)
		if topic == nil {
			t.Fatal("no room")
		}
		if topic.id == 0 || topic.id == 0xFFFF || topic.id == kept {
			t.Fatalf("%q has id %d", topic.name, topic.id)
		}
		seen[topic.id] = true
	}
	if len(ts.list) != 10 || ts.byName("kept") == nil || ts.byName("kept").id != kept {
		t.Errorf("%d topics, the pinned one is %v", len(ts.list), ts.byName("kept"))
	}
	if len(seen) != maxTopicID-1 {
		t.Errorf("%d different ids, want %d", len(seen), maxTopicID-1)
	}
}

// R09: a table of the largest size is filled to the last id, and found again.
func TestTopicTableFull(t *testing.T) {
	ts := topics{last: 65000}
	for i := range maxTopicID {
		topic := ts.add(fmt.Sprint(i), maxTopicID)
		if topic == nil {
			t.Fatalf("no room for topic %d", i)
		}
		topic.is |= pinned
	}
	if ts.room(maxTopicID) || ts.add("one more", maxTopicID) != nil {
		t.Error("there is room for one more")
	}
	for i := range maxTopicID {
		topic := ts.byName(fmt.Sprint(i))
		if topic == nil || ts.byID(topic.id) != topic {
			t.Fatalf("topic %d is not found: %v", i, topic)
		}
	}
}

// A refused name gives way last: it would be offered again.
func TestRefusedTopicsGiveWayLast(t *testing.T) {
	ts := topics{}
	ts.add("refused", 2).is |= refused
	ts.add("other", 2)
	ts.add("third", 2)
	if ts.byName("refused") == nil || ts.byName("other") != nil {
		t.Error("the refused name gave way")
	}
	ts.byName("third").is |= refused
	ts.add("fourth", 2)
	if ts.byName("refused") != nil {
		t.Error("the older of two refused names is still there")
	}
}

// The queue against a plain slice.
func TestQueue(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var q queue
	var model []delivery
	for n := range 20000 {
		switch op := rng.IntN(10); {
		case op < 5:
			d := delivery{token: broker.Token(n), qos: byte(rng.IntN(2)), msg: &broker.Message{Payload: make([]byte, rng.IntN(5))}}
			q.push(d)
			model = append(model, d)
		case op < 8:
			d, ok := q.pop()
			if ok != (len(model) > 0) || ok && d != model[0] {
				t.Fatalf("step %d: popped %v, want %v", n, d, model[:min(1, len(model))])
			}
			if ok {
				model = model[1:]
			}
		case op < 9:
			i := slices.IndexFunc(model, func(d delivery) bool { return d.qos == 0 })
			if q.dropQoS0() != (i >= 0) {
				t.Fatalf("step %d: QoS 0 at %d", n, i)
			}
			if i >= 0 {
				model = slices.Delete(slices.Clone(model), i, i+1)
			}
		case rng.IntN(50) == 0:
			keep := func(d *delivery) bool { return d.token%3 > 0 }
			q.keep(keep)
			model = slices.DeleteFunc(slices.Clone(model), func(d delivery) bool { return !keep(&d) })
		}
		bytes, qos0 := 0, int32(0)
		for i := range model {
			bytes += model[i].size()
			if model[i].qos == 0 {
				qos0++
			}
		}
		if q.len() != len(model) || int(q.bytes) != bytes || q.qos0 != qos0 {
			t.Fatalf("step %d: %d messages, %d octets, %d QoS 0; want %d, %d, %d", n, q.len(), q.bytes, q.qos0, len(model), bytes, qos0)
		}
	}
}

// An emptied queue does not keep the memory of its largest hour.
func TestQueueGivesMemoryBack(t *testing.T) {
	var q queue
	for range 1000 {
		q.push(delivery{msg: &broker.Message{}})
	}
	for q.len() > 0 {
		q.pop()
	}
	if cap(q.items) > keepQueue {
		t.Errorf("room for %d messages is kept", cap(q.items))
	}
}

// R04: clients share options, and nothing else.
func TestClientsAreIndependent(t *testing.T) {
	o := DefaultOptions()
	a, b := &bench{o: o, now: time.Now()}, &bench{o: o, now: time.Now()}
	a.s, b.s = New("a", &o, 0), New("b", &o, 0)
	a.connect(t, a.s)
	b.connect(t, b.s)
	a.packet(&mqttsn.Register{MsgID: 1, TopicName: []byte("of/a")})
	b.packet(&mqttsn.Publish{QoS: 1, TopicID: 1, MsgID: 1, Data: []byte("x")})
	var got []byte
	for p := range b.fx.Packets() {
		got = p
	}
	want := mqttsn.Puback{TopicID: 1, MsgID: 1, ReturnCode: mqttsn.InvalidTopicID}.Append(nil)
	if !bytes.Equal(got, want) || len(b.fx.Requests) > 0 {
		t.Errorf("b publishes with a topic id of a: % x, %v", got, b.fx.Requests)
	}
}

// N12: a step of the wall clock moves no deadline, since Go's times carry a monotonic
// reading; and one that seems to run backwards does no harm.
func TestTimeBeforeTheFirst(t *testing.T) {
	b := newBench(t, false)
	deadline := b.s.Deadline()
	b.s.Expire(b.now.Add(-time.Hour), &b.fx)
	if b.s.State() != Active || !b.s.Deadline().Equal(deadline) {
		t.Errorf("%v, deadline %v, want %v", b.s.State(), b.s.Deadline(), deadline)
	}
}

// Effects keep their memory, but not that of an unusual hour, and nothing of their last
// use.
func TestEffectsReset(t *testing.T) {
	var fx Effects
	fx.connack(mqttsn.Accepted)
	fx.puback(1, 2, mqttsn.Accepted)
	fx.request(broker.Request{Op: broker.Publish, Payload: []byte("x")})
	fx.drop(QueueFull)
	fx.Retransmissions, fx.Delivered, fx.Returned, fx.Gone = 1, 1, 1, true
	n := 0
	for range fx.Packets() {
		n++
		break
	}
	for range fx.Packets() {
		n++
	}
	if n != 3 {
		t.Errorf("%d packets in two rounds, the first left after one; want 3", n)
	}
	fx.Reset()
	for range fx.Packets() {
		t.Error("a packet is left")
	}
	if len(fx.Requests) > 0 || fx.Requests[:1][0].Payload != nil || fx.Drops != [Reasons]uint32{} ||
		fx.Retransmissions+fx.Delivered+fx.Returned > 0 || fx.Gone {
		t.Errorf("something is left: %+v", fx)
	}
	fx.send(make([]byte, keepArena+1))
	fx.Reset()
	if cap(fx.arena) > keepArena {
		t.Error("a large arena is kept")
	}
}

// SetPath takes what a link may say.
func TestSetPath(t *testing.T) {
	s := New("a", new(Options), 0)
	for in, want := range map[int]int32{0: 65535, -1: 65535, 60: 60, 1 << 20: 65535} {
		if s.SetPath(Path{MTU: in}); s.mtu != want {
			t.Errorf("an MTU of %d means %d, want %d", in, s.mtu, want)
		}
	}
}
