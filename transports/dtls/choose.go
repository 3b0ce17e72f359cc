package dtls

import (
	"bytes"
	"context"
)

// find returns the keys that the identity has which the client says is its own. What is not
// in the file is asked for elsewhere: the library waits, and with it this handshake, but
// nobody else.
func (c *conn) find(ring *keyring, identity []byte) (found pair, known bool, err error) {
	found, known = ring.keys.find(identity)
	elsewhere := false
	if !known && ring.lookup != nil {
		var key []byte
		if key, err = ring.lookup.find(c.ctx, string(identity)); key != nil {
			found[0], known, elsewhere = key, true, true
		}
	}
	c.proof.claim(identity, known, elsewhere, err)
	return found, known, err
}

// key says which pre-shared key the client has that names this identity.
func (c *conn) key(ring *keyring, identity []byte, begin func() (*trial, error)) ([]byte, error) {
	if key := c.resumption.takeKey(); key != nil {
		return key, nil
	}
	found, _, err := c.find(ring, identity)
	if err != nil || found[1] == nil {
		return found[0], err
	}
	return c.choose(found, begin)
}

// choose is the key of a pair that opens the client's first encrypted records, the first of
// the pair if none does. A wrong choice gains a client nothing, as it has yet to prove that
// it has the key; so what is tried is not more than what is waited for anyway (patience).
func (c *conn) choose(found pair, begin func() (*trial, error)) ([]byte, error) {
	t, err := begin()
	if err != nil {
		return nil, err
	}
	var openers [2]opener
	for i, key := range found {
		if openers[i], err = t.with(key); err != nil {
			return nil, err
		}
	}
	for n := range patience {
		record := c.encrypted(n)
		if record == nil {
			break
		}
		first, second := opens(openers[0], record), opens(openers[1], record)
		switch {
		case first:
			return found[0], nil
		case second:
			return found[1], nil
		}
	}
	return found[0], nil
}

// encrypted waits for the client's encrypted record of that number, counted from 0 in their
// order of arrival; nil if the handshake ends before.
func (c *conn) encrypted(n int) []byte {
	defer context.AfterFunc(c.ctx, func() {
		c.mu.Lock()
		c.more.Broadcast()
		c.mu.Unlock()
	})()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.proofs) <= n && !c.closed && c.ctx.Err() == nil {
		c.more.Wait()
	}
	if len(c.proofs) <= n {
		return nil
	}
	return c.proofs[n]
}

// keepProofs keeps the first encrypted records of a client, each of which proves which key it
// has, for choose.
func (c *conn) keepProofs(b []byte) {
	for len(b) > 0 && len(c.proofs) < patience {
		r, rest, ok := readRecord(b)
		if !ok {
			return
		}
		if r.epoch == 1 && (r.kind == typeHandshake || r.kind == typeCID) {
			c.proofs = append(c.proofs, bytes.Clone(r.raw))
		}
		b = rest
	}
}
