package framing

type raw struct{}

// Raw has no marks: packets follow each other, and the Length of each tells where it ends
// [SN-5.2.1].
func Raw() Framing { return raw{} }

func (raw) Append(b, packet []byte) []byte {
	if !carries(packet) {
		return b
	}
	return append(b, packet...)
}

func (raw) NewDecoder() Decoder {
	return &rawDecoder{octets: make([]byte, 0, 2*MaxFrame+enough)}
}

// rawDecoder either follows, that is, knows where the next packet begins, or searches.
// Indices are into octets.
type rawDecoder struct {
	octets []byte
	next   int // following: where the next packet begins

	// last is where the packet handed out last begins; next if there is none, or if
	// silence after it has proved its Length.
	last int

	searching bool
	from      int // where a packet is looked for
	lost      int // where one should have begun, but cannot; all before has been handed out

	line   line
	silent bool
	errors Errors
}

// line is what a line carries, as far as is known.
type line int

const (
	unknown line = iota
	direct
	encapsulated // by a forwarder
)

func (d *rawDecoder) Decode(octets []byte, frame func(packet []byte)) {
	if d.silent {
		d.silent = false
		d.scan(frame, true)
		d.octets, d.next, d.last, d.searching = d.octets[:0], 0, 0, false
	}
	for len(octets) > 0 {
		n := min(len(octets), cap(d.octets)-len(d.octets))
		d.octets = append(d.octets, octets[:n]...)
		octets = octets[n:]
		d.scan(frame, false)
		d.keep()
	}
}

// scan takes all packets out of what has been received. If that is final, nothing that
// is incomplete is waited for.
func (d *rawDecoder) scan(frame func(packet []byte), final bool) {
	for {
		if d.searching {
			if !d.search(frame, final) {
				return
			}
		} else if !d.follow(frame, final) {
			return
		}
	}
}

// keep drops the octets that are not needed any more. What it keeps leaves room, for a
// packet and the one before it have at most MaxFrame octets each.
func (d *rawDecoder) keep() {
	at := d.last
	if d.searching {
		at = d.from
	}
	if at == 0 {
		return
	}
	d.octets = d.octets[:copy(d.octets, d.octets[at:])]
	d.next -= at
	d.last -= at
	d.from -= at
	d.lost -= at
}

// follow takes the next packet. It reports whether there may be another.
func (d *rawDecoder) follow(frame func(packet []byte), final bool) bool {
	b := d.octets[d.next:]
	if len(b) == 0 {
		return false
	}
	size, v := measure(b)
	switch {
	case v == whole:
		d.take(d.next, size, frame)
		return true
	case v == more && !final:
		return false
	case v == tooLong:
		d.errors.TooLong++
	default:
		d.errors.Malformed++
	}
	// Either this packet is damaged, or the one before it was not as long as it said and
	// has swallowed others.
	d.searching, d.lost, d.from = true, d.next, d.next
	if d.last < d.next {
		d.from = d.last + 1
	}
	return true
}

// take hands out the packet of size octets that begins at.
func (d *rawDecoder) take(at, size int, frame func(packet []byte)) {
	d.last, d.next = at, at+size
	d.line = direct
	if carrier(d.octets[at:]) == encapsulated {
		d.line = encapsulated
	}
	frame(d.octets[at:d.next:d.next])
}

// search looks for packets from d.from on. It reports whether there may be others.
func (d *rawDecoder) search(frame func(packet []byte), final bool) bool {
	if d.from >= len(d.octets) {
		return false
	}
	end, v := d.chain(final)
	switch v {
	case more:
		return false
	case whole:
		for at := d.from; at < end; at = d.next {
			size, _ := measure(d.octets[at:])
			d.take(at, size, frame)
		}
		d.searching = false
	default:
		if d.from >= d.lost {
			d.errors.Noise++
		}
		d.from++
	}
	return true
}

// mostSwallowed is how many packets are looked for within a false one. A Length of one octet
// can swallow more if they are tiny, but the search is to stay short whatever is on the line.
const mostSwallowed = 32

// chain looks whether a packet begins at d.from that is to be believed: it is credible, and
// so is what follows it, if only silence. If it begins within the packet handed out last,
// which would then be a false one, credible packets must follow it up to one that goes on
// beyond the end of that.
func (d *rawDecoder) chain(final bool) (end int, v verdict) {
	end = d.from
	for n := 0; n == 0 || end < d.lost; n++ {
		size, v := d.credible(d.octets[end:])
		switch {
		case v == more && !final:
			return 0, more
		case v != whole || end+size == d.lost || n == mostSwallowed:
			return 0, impossible
		}
		end += size
	}
	// Of what follows a few octets decide, so that it does not matter whether more are there.
	b := d.octets[end:min(end+enough, len(d.octets))]
	if len(b) == 0 && final {
		return end, whole
	}
	size, v := d.credible(b)
	switch {
	case v == whole, v == more && (len(b) == enough || final && size > 0):
		return end, whole
	case v == more && !final:
		return 0, more
	default:
		return 0, impossible
	}
}

// credible judges b. The line carries what it did before: a forwarder's packet whose header
// is damaged is not to pass for one of the forwarder's own.
func (d *rawDecoder) credible(b []byte) (size int, v verdict) {
	if c := carrier(b); c != unknown && d.line != unknown && c != d.line {
		return 0, impossible
	}
	return credible(b)
}

// carrier tells what the packet at the beginning of b says about the line.
func carrier(b []byte) line {
	_, typeAt, v := header(b)
	switch {
	case v != whole:
		return unknown
	case b[typeAt] == typeEncapsulated:
		return encapsulated
	default:
		return direct
	}
}

func (d *rawDecoder) Idle() { d.silent = true }

func (d *rawDecoder) Errors() Errors { return d.errors }
