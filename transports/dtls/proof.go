package dtls

import (
	"encoding/binary"
	"strings"
	"sync"
)

// proof watches a handshake from outside, on the datagrams of both sides: what the library
// does not tell, such as that the client's key is wrong, shows there.
type proof struct {
	// offset is added to the numbers of our records that are not encrypted. The library
	// counts from its own HelloVerifyRequest, which is swallowed; the client has had one
	// with the number of its hello, so that ours would look like repetitions.
	offset uint64

	mu        sync.Mutex // guards what follows
	asked     bool       // for a pre-shared key
	known     bool       // and there is one
	elsewhere bool       // but not in psk_file
	lookup    error      // why nobody knows whether there is one
	claimed   string     // for which identity
	identity  string     // the same, as a log shows it
	verified  bool       // the client has proven who it is
	changed   bool       // the client has said that it encrypts from now on
	offered   bool       // the last datagram had an encrypted record, after that
	rejected  int        // so many of these have not proven it
	ours      byte       // the alert that we have sent
	theirs    byte       // the alert that they have sent
	next      uint64     // number of our next record that is not encrypted
}

// patience is how many encrypted datagrams a client may send with a key that does not fit:
// its Finished and one repetition. One alone could be a forgery.
const patience = 2

// claim notes which identity the client says that it has, and whether there is a key for it,
// elsewhere than in psk_file, or why nobody knows.
func (p *proof) claim(identity []byte, known, elsewhere bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.known, p.elsewhere, p.lookup = true, known, elsewhere, err
	p.claimed, p.identity = string(identity), printable(identity)
}

// fromFile is the identity that the client has shown a key in psk_file for, as it was sent;
// ok is false if it uses none of these.
func (p *proof) fromFile() (identity string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.claimed, p.asked && !p.elsewhere
}

func (p *proof) verify() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.verified = true
}

func (p *proof) isVerified() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.verified
}

// offer looks at a datagram that the library is about to get.
func (p *proof) offer(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offered = false
	for len(b) > 0 {
		r, rest, ok := readRecord(b)
		if !ok {
			return
		}
		switch {
		case r.epoch > 0:
			// Without the client's ChangeCipherSpec the library does not even try to
			// decrypt it: that may have been lost, or be on its way.
			p.offered = p.changed
		case r.kind == typeChangeCipherSpec:
			p.changed = true
		case r.kind == typeAlert && len(r.body) == 2 && r.body[0] == alertFatal:
			p.theirs = r.body[1]
		}
		b = rest
	}
}

// hopeless is asked after the library has seen that datagram. It has the key by then; if
// the client's Finished has not satisfied it, none will.
func (p *proof) hopeless() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.offered && p.asked && !p.verified {
		p.rejected++
	}
	p.offered = false
	return p.rejected >= patience
}

// outgoing looks at a datagram of the library's, and returns what to send in its place.
// swallow says to send nothing: it is a HelloVerifyRequest.
func (p *proof) outgoing(b []byte) (out []byte, swallow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out = append([]byte(nil), b...)
	for rest := out; len(rest) > 0; {
		r, after, ok := readRecord(rest)
		if !ok {
			break
		}
		rest = after
		if r.epoch > 0 {
			continue
		}
		switch {
		case r.kind == typeHandshake && len(r.body) > 0 && r.body[0] == helloVerifyRequest:
			return nil, true
		case r.kind == typeAlert && len(r.body) == 2 && r.body[0] == alertFatal:
			p.ours = r.body[1]
		}
		seq := r.seq + p.offset
		binary.BigEndian.PutUint64(r.raw[3:], seq&(1<<48-1)) // its upper half is epoch 0
		p.next = seq + 1
	}
	return out, false
}

// printable is what a log shows of a name that a stranger has chosen.
func printable(name []byte) string {
	const most = 64
	if len(name) > most {
		return strings.ToValidUTF8(string(name[:most]), "?") + "..."
	}
	return strings.ToValidUTF8(string(name), "?")
}

// number is that of our next record that is not encrypted.
func (p *proof) number() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}
