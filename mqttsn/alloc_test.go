package mqttsn

import "testing"

func TestAllocations(t *testing.T) {
	var d Decoder
	buf := make([]byte, 0, 512)
	for _, p := range samples {
		b := p.Append(nil)
		if n := testing.AllocsPerRun(100, func() { buf = p.Append(buf[:0]) }); n != 0 {
			t.Errorf("encoding %v allocates %v times", p.Type(), n)
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = Decode(b) }); n > 1 {
			t.Errorf("decoding %v allocates %v times", p.Type(), n)
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = d.Decode(b) }); n != 0 {
			t.Errorf("decoding %v with a Decoder allocates %v times", p.Type(), n)
		}
		if n := testing.AllocsPerRun(100, func() { _, _, _ = Peek(b) }); n != 0 {
			t.Errorf("peeking at %v allocates %v times", p.Type(), n)
		}
	}
	filter := []byte("$share/g/a/+/b/#")
	if n := testing.AllocsPerRun(100, func() { _ = ValidTopicFilter(filter) }); n != 0 {
		t.Errorf("ValidTopicFilter allocates %v times", n)
	}
}

var sink Packet

func BenchmarkAppend(b *testing.B) {
	for _, p := range samples {
		b.Run(render(p)[:min(len(render(p)), 40)], func(b *testing.B) {
			buf := make([]byte, 0, 512)
			b.ReportAllocs()
			for b.Loop() {
				buf = p.Append(buf[:0])
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	publish := Publish{QoS: QoS1, TopicID: 5, MsgID: 7, Data: make([]byte, 64)}.Append(nil)
	b.Run("PUBLISH/new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			sink, _ = Decode(publish)
		}
	})
	var d Decoder
	for _, p := range samples {
		in := p.Append(nil)
		b.Run(p.Type().String()+"/reused", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sink, _ = d.Decode(in)
			}
		})
	}
}

func BenchmarkPeek(b *testing.B) {
	in := Publish{QoS: QoS1, TopicID: 5, MsgID: 7, Data: make([]byte, 64)}.Append(nil)
	for b.Loop() {
		_, _, _ = Peek(in)
	}
}
