package mqtt

import (
	"io"
	"sync"
)

// The sizes of a Reader's buffers, in octets.
const (
	idleBuffer = 512      // while nothing is known to be coming
	busyBuffer = 16 << 10 // while data comes faster than that
)

// busyBuffers are shared by all Readers: an idle one has none.
var busyBuffers = sync.Pool{New: func() any { return new([busyBuffer]byte) }}

// Reader cuts a byte stream into packets. It waits for data with a small buffer, borrows
// a larger one while there is more to read than fits, and one of a packet's size grows
// only as the packet's octets come in: a header alone makes it allocate nothing. It is
// used by one goroutine at a time.
type Reader struct {
	// Max is the largest packet to accept, as in Frame; it may be changed between calls.
	Max int
	// Only, unless it is 0, is the type of the only packets to accept: others are refused at
	// their first octet. It may be changed between calls, too.
	Only Type
	// Held, unless it is nil, is called with the size of the buffer that the Reader makes
	// for a large packet, each time it grows, and with 0 when it is given up.
	Held func(octets int)

	src  io.Reader
	idle []byte            // of idleBuffer octets
	busy *[busyBuffer]byte // nil, or borrowed
	buf  []byte            // idle, busy or one of its own
	r, w int               // buf[r:w] is not consumed yet
	full bool              // the last read filled idle or busy: there may be more
}

// NewReader reads packets of at most limit octets, 0 for any, from src.
func NewReader(src io.Reader, limit int) *Reader {
	idle := make([]byte, idleBuffer)
	return &Reader{Max: limit, src: src, idle: idle, buf: idle}
}

// Next reads the next packet. Its body is valid until the following call. The error is
// io.EOF if the stream ended between two packets, io.ErrUnexpectedEOF if within one, an
// *Error if what came is not MQTT, or that of the stream.
func (r *Reader) Next() (Header, []byte, error) {
	for {
		if r.r < r.w && r.Only != 0 && Type(r.buf[r.r]>>4) != r.Only {
			h := Header{Type: Type(r.buf[r.r] >> 4)}
			return h, nil, frameError(h, "packet type", "is not expected", CodeProtocolError)
		}
		h, body, n, err := Frame(r.buf[r.r:r.w], r.Max)
		if err != nil {
			return h, nil, err
		}
		if n > 0 {
			r.r += n
			return h, body, nil
		}
		r.makeRoom(h)
		if err := r.fill(); err != nil {
			return h, nil, err
		}
	}
}

// Rest is what was read and is not consumed. It is valid until the following call.
func (r *Reader) Rest() []byte { return r.buf[r.r:r.w] }

// Buffered reports whether Next would return without reading from the stream: whoever
// gathers answers sends them when it would not.
func (r *Reader) Buffered() bool {
	_, _, n, err := Frame(r.buf[r.r:r.w], r.Max)
	return n > 0 || err != nil
}

// makeRoom chooses the buffer for the next read, which may block for long, and moves
// what is not consumed to its start. h is the header of the packet under way, or zero.
func (r *Reader) makeRoom(h Header) {
	have, need := r.w-r.r, h.Length+maxFixedHeader
	switch {
	case have == len(r.buf) && len(r.buf) >= busyBuffer:
		r.use(make([]byte, min(2*have, need)))
	case r.r == 0 && len(r.buf) > busyBuffer:
		// A buffer grown for this packet, with room left.
	case have < idleBuffer && !r.full:
		r.use(r.idle)
	case r.busy != nil:
		r.use(r.busy[:])
	default:
		busy := busyBuffers.Get().(*[busyBuffer]byte)
		r.use(busy[:])
		r.busy = busy
	}
}

// maxFixedHeader is the longest fixed header: one octet and four of length.
const maxFixedHeader = 5

// use goes on with buf, which may be the present one, and gives back a borrowed one.
func (r *Reader) use(buf []byte) {
	if r.Held != nil && len(buf) != len(r.buf) && max(len(buf), len(r.buf)) > busyBuffer {
		if len(buf) > busyBuffer {
			r.Held(len(buf))
		} else {
			r.Held(0)
		}
	}
	r.w = copy(buf, r.buf[r.r:r.w])
	r.r = 0
	if r.busy != nil && &buf[0] != &r.busy[0] {
		busyBuffers.Put(r.busy)
		r.busy = nil
	}
	r.buf = buf
}

// fill reads once.
func (r *Reader) fill() error {
	for range 100 {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		r.full = r.w == len(r.buf) && r.w <= busyBuffer
		switch {
		case n > 0:
			return nil // an error will come again
		case err == io.EOF && r.r < r.w:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}
