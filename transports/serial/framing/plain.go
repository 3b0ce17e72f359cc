package framing

// plainDecoder decodes the XBee envelope of mode 1. Its delimiter may be within a frame as
// well, so a frame refused was perhaps none, or has swallowed others by a false length:
// the search goes on at the octet after its delimiter.
type plainDecoder struct {
	octets []byte // of the frame that may begin here; with room for the longest
	// refused is how many of them belong to a frame that has been counted as refused. A
	// delimiter within it is no second one.
	refused int
	silent  bool
	errors  Errors
}

func (d *plainDecoder) Decode(octets []byte, frame func(packet []byte)) {
	if d.silent {
		d.silent = false
		d.scan(frame, true)
	}
	for len(octets) > 0 {
		n := min(len(octets), cap(d.octets)-len(d.octets))
		d.octets = append(d.octets, octets[:n]...)
		octets = octets[n:]
		d.scan(frame, false)
	}
}

// scan takes all frames out of what has been received, and leaves the one that is
// incomplete unless that is final.
func (d *plainDecoder) scan(frame func(packet []byte), final bool) {
	at := 0
	for at < len(d.octets) {
		b := d.octets[at:]
		size, v := envelope(b)
		switch {
		case v == whole:
			frame(b[xbeeHeader : xbeeHeader+size : xbeeHeader+size])
			at += size + xbeeOverhead
			d.refused = 0
			continue
		case v == more && !final:
			d.keep(at)
			return
		case v == none:
		case at >= d.refused:
			d.refused = at + d.refuse(v, size, len(b))
		}
		d.errors.Noise++
		at++
	}
	d.keep(at)
}

// keep drops the octets before at.
func (d *plainDecoder) keep(at int) {
	d.octets = d.octets[:copy(d.octets, d.octets[at:])]
	d.refused = max(d.refused-at, 0)
}

// refuse counts a frame and returns how many octets it has, of which received are there.
func (d *plainDecoder) refuse(v verdict, size, received int) int {
	switch v {
	case spoilt:
		d.errors.Checksum++
		return size + xbeeOverhead
	case more: // and silence
		d.errors.Malformed++
		return received
	case tooLong:
		d.errors.TooLong++
	default:
		d.errors.Malformed++
	}
	return xbeeHeader
}

func (d *plainDecoder) Idle() { d.silent = true }

func (d *plainDecoder) Errors() Errors { return d.errors }

// envelope judges b, which is not empty. size is that of the frame data, 0 where unknown.
func envelope(b []byte) (size int, v verdict) {
	if b[0] != xbeeDelimiter {
		return 0, none
	}
	if len(b) < xbeeHeader {
		return 0, more
	}
	size = int(b[1])<<8 | int(b[2])
	switch {
	case size == 0:
		return 0, impossible
	case size > MaxFrame:
		return 0, tooLong
	case len(b) < size+xbeeOverhead:
		return size, more
	case xbeeSum(b[xbeeHeader:xbeeHeader+size]) != b[xbeeHeader+size]:
		return size, spoilt
	default:
		return size, whole
	}
}
