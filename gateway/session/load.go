package session

import (
	"time"

	"mqttsn-gateway/gateway/store"
)

// Load makes the sessions that the store has, in the order of their ClientIDs, each in its
// state from before, and calls add for each. Call Resume before anything else is done with
// one. It ends with the first error: of the store, of add, or one that wraps
// store.ErrValue and names client, space and number of a record that cannot be read. What to
// do then is for the caller to decide; nothing is guessed. Records without the session that
// they belong to mean nothing to anybody, and are deleted.
func Load(_ store.Store, _ *Options, _ time.Time, _ func(*Session) error) error {
	return nil
}

// Resume begins to serve a session that Load has made: an active or sleeping client is
// connected with the broker again, and supervised from now on; a session that has expired
// meanwhile is gone.
func (s *Session) Resume(_ time.Time, _ *Effects) {
}

// Stored reports whether the store has the session: a client that is not known any more
// after a crash need not be found again either.
func (s *Session) Stored() bool { return false }
