package framing

// cobsFull is the code of a block of 254 octets that no zero follows [COBS].
const cobsFull = 0xFF

type cobs struct{ crc bool }

// COBS is Consistent Overhead Byte Stuffing [S. Cheshire, M. Baker: Consistent Overhead
// Byte Stuffing, IEEE/ACM Transactions on Networking, April 1999]: the packet in blocks
// without a zero, and a zero after it. One octet in 254 is added. Like SLIP's END, the zero
// also stands before each frame, so that a frame does not suffer from noise before it, nor
// from damage to the end of the frame before. With crc the packet is followed by the
// FCS-16 of RFC 1662, low octet first, before it is cut into blocks.
func COBS(crc bool) Framing { return cobs{crc} }

func (c cobs) Append(b, packet []byte) []byte {
	if !carries(packet) {
		return b
	}
	b = append(b, 0)
	w := cobsWriter{b: append(b, 0), code: len(b)}
	for _, v := range packet {
		w.put(v)
	}
	if c.crc {
		sum := fcs(packet)
		w.put(byte(sum))
		w.put(byte(sum >> 8))
	}
	return w.end()
}

// cobsWriter appends blocks to b. code is where the code of the last one stands.
type cobsWriter struct {
	b    []byte
	code int
}

func (w *cobsWriter) put(v byte) {
	// A full block is closed only when more follows: at the end of the packet it needs
	// no empty one after it.
	if len(w.b)-w.code == cobsFull {
		w.close()
	}
	if v == 0 {
		w.close()
		return
	}
	w.b = append(w.b, v)
}

// close writes the code of the last block and begins another.
func (w *cobsWriter) close() {
	w.b[w.code] = byte(len(w.b) - w.code)
	w.code = len(w.b)
	w.b = append(w.b, 0)
}

func (w *cobsWriter) end() []byte {
	w.close()
	return w.b // the code begun is the zero that ends the frame
}

func (c cobs) NewDecoder() Decoder { return &cobsDecoder{body: newBody(c.crc)} }

type cobsDecoder struct {
	body
	left int  // octets that the block still has
	full bool // the block before stands for no zero, or there was none
}

func (d *cobsDecoder) Decode(octets []byte, frame func(packet []byte)) {
	for _, c := range octets {
		switch {
		case c == 0: // whatever is before it: the next frame is not to suffer
			d.bad = d.bad || d.left > 0
			d.left = 0
			d.end(frame)
		case d.left > 0:
			d.put(c)
			d.left--
		default:
			if d.begun && !d.full {
				d.put(0)
			}
			d.begun, d.full, d.left = true, c == cobsFull, int(c)-1
		}
	}
}

func (d *cobsDecoder) Idle() {
	d.left = 0
	d.cut()
}

func (d *cobsDecoder) Errors() Errors { return d.errors }
