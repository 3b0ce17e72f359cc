package client

import (
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"
)

func TestOnceTable(t *testing.T) {
	now := time.Unix(1000, 0)
	table := newOnceTable(10 * time.Second)
	a := &mqttsn.Publish{TopicID: 1, MsgID: 7, Data: []byte("a")}
	b := &mqttsn.Publish{TopicID: 1, MsgID: 7, Data: []byte("b")}
	other := &mqttsn.Publish{TopicID: 2, MsgID: 7, Data: []byte("a")}
	check := func(when string, a1, b1, other1 bool) {
		t.Helper()
		if table.has(now, a) != a1 || table.has(now, b) != b1 || table.has(now, other) != other1 {
			t.Errorf("%s: has %v %v %v", when, table.has(now, a), table.has(now, b), table.has(now, other))
		}
	}
	check("at first", false, false, false)
	table.release(now, 7)
	table.add(a)
	now = now.Add(time.Hour)
	check("before PUBREL", true, false, false)
	table.release(now, 7)
	now = now.Add(9 * time.Second)
	check("soon after PUBREL", true, false, false)
	table.release(now, 7) // a second PUBREL makes it no longer
	now = now.Add(time.Second)
	check("later", false, false, false)
	table.add(b)
	check("when the MsgId is used again", false, true, false)
	table.clear()
	check("when cleared", false, false, false)
}

func TestOnceTableIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	table := newOnceTable(10 * time.Second)
	for i := range 10000 {
		p := &mqttsn.Publish{MsgID: uint16(i)}
		table.add(p)
		table.release(now, p.MsgID)
		now = now.Add(100 * time.Millisecond)
	}
	if n := len(table.seen); n > onceSweep {
		t.Errorf("%d entries", n)
	}
}
