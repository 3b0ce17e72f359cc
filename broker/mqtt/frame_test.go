package mqtt

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

func TestFrame(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		max  int
		h    Header
		body string
		n    int
		err  Code
	}{
		{"nothing", nil, 0, Header{}, "", 0, 0},
		{"one octet", []byte{0x30}, 0, Header{}, "", 0, 0},
		{"half a length", []byte{0x30, 0x80}, 0, Header{}, "", 0, 0},
		{"half a length of four", []byte{0x30, 0x80, 0x80, 0x80}, 0, Header{}, "", 0, 0},
		{"header only", []byte{0x32, 3}, 0, Header{TypePublish, 2, 3}, "", 0, 0},
		{"part of the body", []byte{0x32, 3, 'a'}, 0, Header{TypePublish, 2, 3}, "", 0, 0},
		{"whole", []byte{0x32, 3, 'a', 'b', 'c'}, 0, Header{TypePublish, 2, 3}, "abc", 5, 0},
		{"and more", []byte{0x32, 3, 'a', 'b', 'c', 0xC0, 0}, 0, Header{TypePublish, 2, 3}, "abc", 5, 0},
		{"empty", []byte{0xC0, 0, 0xFF}, 0, Header{TypePingreq, 0, 0}, "", 2, 0},
		{"as large as allowed", []byte{0x32, 3, 'a', 'b', 'c'}, 5, Header{TypePublish, 2, 3}, "abc", 5, 0},
		{"too large", []byte{0x32, 3}, 4, Header{TypePublish, 2, 3}, "", 0, CodePacketTooLarge},
		{"too large in whole", []byte{0x32, 3, 'a', 'b', 'c'}, 4, Header{TypePublish, 2, 3}, "", 0, CodePacketTooLarge},
		{"largest", []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}, 0, Header{TypePublish, 0, MaxRemaining}, "", 0, 0},
		{"largest but one", []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}, MaxRemaining + 4, Header{TypePublish, 0, MaxRemaining}, "", 0, CodePacketTooLarge},
		{"five octets", []byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF}, 0, Header{TypePublish, 0, 0}, "", 0, CodeMalformed},
		{"zero in two octets", []byte{0xC0, 0x80, 0}, 0, Header{TypePingreq, 0, 0}, "", 0, CodeMalformed},
		{"127 in two octets", []byte{0x30, 0xFF, 0}, 0, Header{TypePublish, 0, 0}, "", 0, CodeMalformed},
		{"128", []byte{0x30, 0x80, 1}, 0, Header{TypePublish, 0, 128}, "", 0, 0},
		{"16383", []byte{0x30, 0xFF, 0x7F}, 0, Header{TypePublish, 0, 16383}, "", 0, 0},
		{"16384", []byte{0x30, 0x80, 0x80, 1}, 0, Header{TypePublish, 0, 16384}, "", 0, 0},
		{"reserved type", []byte{0x05}, 0, Header{0, 5, 0}, "", 0, CodeMalformed},
	} {
		h, body, n, err := Frame(c.in, c.max)
		var e *Error
		errors.As(err, &e)
		if h != c.h || string(body) != c.body || n != c.n || (err != nil) != (c.err != 0) || e != nil && e.Code != c.err {
			t.Errorf("%s: Frame = %v, %q, %d, %v", c.name, h, body, n, err)
		}
		if n > 0 && cap(body) != len(body) {
			t.Errorf("%s: the body can grow into the next packet", c.name)
		}
	}
}

// TestLengths encodes packets around each size of the remaining length.
func TestLengths(t *testing.T) {
	for _, size := range []int{127, 128, 16383, 16384, 2097151, 2097152} {
		for d := -1; d <= 1; d++ {
			p := &Publish{Topic: []byte("t"), Payload: bytes.Repeat([]byte{'p'}, size+d-3)}
			b := p.Append(nil, V311)
			if h, _, n, err := Frame(b, 0); h.Length != size+d || n != len(b) || err != nil {
				t.Fatalf("a remaining length of %d is read as %v, %d of %d octets, %v", size+d, h, n, len(b), err)
			}
			checkRoundTrip(t, p, V311, size+d)
		}
	}
}

// stream is many packets: all samples, and payloads of all sizes up to large.
func stream(large int) (b []byte, packets []Packet) {
	add := func(p Packet) {
		packets = append(packets, p)
		b = p.Append(b, V5)
	}
	for size := 1; size <= large; size = size*5/4 + 1 {
		for _, p := range samples {
			add(p)
		}
		add(&Publish{Topic: []byte("t"), Payload: bytes.Repeat([]byte{byte(size)}, size)})
	}
	return b, packets
}

func TestReader(t *testing.T) {
	b, packets := stream(200_000)
	short, _ := stream(5000)
	random := rand.New(rand.NewPCG(1, 2))
	for name, src := range map[string]io.Reader{
		"whole":          bytes.NewReader(b),
		"data with EOF":  iotest.DataErrReader(bytes.NewReader(b)),
		"halves":         iotest.HalfReader(bytes.NewReader(b)),
		"random":         &chunks{b, func() int { return random.IntN(40_000) }},
		"small":          &chunks{b, func() int { return random.IntN(100) }},
		"single octets":  iotest.OneByteReader(bytes.NewReader(short)),
		"buffers' sizes": &chunks{b, func() int { return idleBuffer }},
	} {
		r := NewReader(src, 0)
		for i := 0; ; i++ {
			h, body, err := r.Next()
			if errors.Is(err, io.EOF) && (i == len(packets) || name == "single octets") {
				break
			}
			if err != nil {
				t.Fatalf("%s: packet %d: %v", name, i, err)
			}
			p, err := Decode(h, body, V5)
			if err != nil {
				t.Fatalf("%s: packet %d: %v", name, i, err)
			}
			if got, want := render(p), render(packets[i]); got != want && p.Type() != TypePublish || !bytes.Equal(p.Append(nil, V5), packets[i].Append(nil, V5)) {
				t.Fatalf("%s: packet %d is %s, want %s", name, i, got, want)
			}
		}
		if r.busy != nil || len(r.buf) != idleBuffer {
			t.Errorf("%s: at the end the buffer has %d octets", name, len(r.buf))
		}
	}
}

// chunks gives b in pieces of the sizes that next says, 0 among them.
type chunks struct {
	b    []byte
	next func() int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.next())], c.b)
	c.b = c.b[n:]
	return n, nil
}

func TestReaderEnds(t *testing.T) {
	broken := errors.New("broken")
	ping := []byte{0xC0, 0}
	for name, c := range map[string]struct {
		src  io.Reader
		want error
	}{
		"between packets":  {bytes.NewReader(ping), io.EOF},
		"in a header":      {bytes.NewReader([]byte{0xC0, 0, 0xC0}), io.ErrUnexpectedEOF},
		"in a body":        {bytes.NewReader([]byte{0xC0, 0, 0x30, 9, 'a'}), io.ErrUnexpectedEOF},
		"with an error":    {io.MultiReader(bytes.NewReader(ping), iotest.ErrReader(broken)), broken},
		"without progress": {&chunks{ping, func() int { return 0 }}, io.ErrNoProgress},
	} {
		r := NewReader(c.src, 0)
		var err error
		for err == nil {
			_, _, err = r.Next()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestReaderMax pins that a packet which is too large is refused with its header and
// nothing is read or allocated for it.
func TestReaderMax(t *testing.T) {
	r := NewReader(bytes.NewReader([]byte{0xC0, 0, 0x30, 0xFF, 0xFF, 0xFF, 0x7F}), 1000)
	if _, _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	_, _, err := r.Next()
	var e *Error
	if !errors.As(err, &e) || e.Code != CodePacketTooLarge || len(r.buf) != idleBuffer {
		t.Errorf("%v, %d octets of buffer", err, len(r.buf))
	}
	if !r.Buffered() {
		t.Error("an error is there to be had")
	}
}

// TestReaderGrows pins that a header which promises much makes the buffer grow only as
// octets come, and that the buffer goes when they have been consumed.
func TestReaderGrows(t *testing.T) {
	const size = 10 << 20
	b := (&Publish{Topic: []byte("t"), Payload: make([]byte, size)}).Append(nil, V311)
	b = append(b, 0xC0, 0, 0xC0)
	sent := 0
	var r *Reader
	r = NewReader(&chunks{b, func() int {
		sent += 1000
		if len(r.buf) > 2*sent+busyBuffer || len(r.buf) > size+20 {
			t.Fatalf("%d octets of buffer for %d received", len(r.buf), sent)
		}
		return 1000
	}}, 0)
	for _, want := range []Type{TypePublish, TypePingreq} {
		if h, _, err := r.Next(); err != nil || h.Type != want {
			t.Fatal(h, err)
		}
	}
	if _, _, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) || len(r.buf) != idleBuffer {
		t.Errorf("%v, %d octets of buffer", err, len(r.buf))
	}
}

func TestReaderBuffered(t *testing.T) {
	r := NewReader(bytes.NewReader([]byte{0xC0, 0, 0xD0, 0, 0x30}), 0)
	for i, want := range []bool{false, true, false} {
		if got := r.Buffered(); got != want {
			t.Errorf("after %d packets: Buffered is %v", i, got)
		}
		if _, _, err := r.Next(); err != nil && i < 2 {
			t.Fatal(err)
		}
	}
}

// TestReaderAllocations pins that a Reader in use allocates nothing.
func TestReaderAllocations(t *testing.T) {
	b := (&Publish{Topic: []byte("t"), Payload: make([]byte, 600)}).Append(nil, V311)
	src := bytes.NewReader(nil)
	r := NewReader(src, 0)
	if n := testing.AllocsPerRun(1000, func() {
		src.Reset(b)
		if _, _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("reading a packet allocates %v times", n)
	}
}

func BenchmarkReader(b *testing.B) {
	var in []byte
	for range 1000 {
		in = (&Publish{Topic: []byte("sensors/42/temperature"), Payload: make([]byte, 64)}).Append(in, V311)
	}
	src := bytes.NewReader(nil)
	r := NewReader(src, 0)
	var d Decoder
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(in)
		for {
			h, body, err := r.Next()
			if err != nil {
				break
			}
			sink, _ = d.Decode(h, body, V311)
		}
	}
}
