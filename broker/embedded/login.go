package embedded

import (
	"errors"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/broker/mqtt"
)

// badge is what an MQTT client has shown of itself. It never changes.
type badge struct {
	user       string // "" is an anonymous client
	identity   string // that a certificate proves; "" for none
	origin     *origin
	stamp      uint64 // of the password
	generation uint64 // of the access files that were asked
}

// certificateIdentity begins the identities of clients with a certificate. Those of devices
// have nothing in front, and come from other authorities.
const certificateIdentity = "certificate of "

// failedPause is how long a client waits for the answer to a wrong user name or password. Its
// connection is pending meanwhile, and max_pending_connections bounds how many of them there
// are.
const failedPause = time.Second

// refusal is why a CONNECT is refused.
type refusal struct {
	code    broker.Code // for the client
	counted broker.Code // in the figures
	why     string      // for the client and the log
	log     string      // instead, for the log alone; "" for none
}

// The answers to a client that is not let in for what it has shown of itself. A wrong password
// and a user that does not exist are the same to whom is told.
var (
	noUser   = refusal{broker.CodeNotAuthorized, refusedAnonymous, "a user name and a password are needed", ""}
	badLogin = refusal{codeBadCredentials, codeBadCredentials, "user name or password is wrong", ""}
	notOwn   = refusal{broker.CodeNotAuthorized, refusedOwner, "the client id is somebody else's", ""}
	badWill  = refusal{broker.CodeNotAuthorized, broker.CodeNotAuthorized, "there is no right to publish the will", ""}
	busy     = refusal{broker.CodeServerBusy, broker.CodeServerBusy, "too many passwords are being checked", ""}
)

// origin is where the client's messages come from; nil if nobody asks.
func (c *client) origin() *origin {
	if c.badge == nil {
		return nil
	}
	return c.badge.origin
}

// authenticate judges a client by its user name and password, before it learns of anything
// else. It takes as long as hashing takes, on the goroutine of the connection and with nothing
// locked. It returns nil if the client is let in.
func (c *client) authenticate(id string, p *mqtt.Connect) *refusal {
	access := c.broker.options.Access
	if user, ok := c.certified(); ok {
		// Whether the file of passwords has that user does not matter, as with Mosquitto.
		c.badge = &badge{user: user, identity: certificateIdentity + user, generation: access.Generation(), origin: c.broker.originOf(id, user)}
		return nil
	}
	if access == nil {
		return nil
	}
	user := string(p.Username)
	c.badge = &badge{user: user, generation: access.Generation(), stamp: access.Stamp(user)}
	err := access.Authenticate(user, p.Password)
	if p.Username != nil && user == "" {
		err = auth.ErrUnknownUser // and not nobody: that one gives no name at all
	}
	switch {
	case err == nil:
		c.badge.origin = c.broker.originOf(id, user)
		return nil
	case errors.Is(err, auth.ErrAnonymous):
		return &noUser
	case errors.Is(err, auth.ErrBusy):
		return &busy
	}
	pauseFor(failedPause, c.ended) // whoever guesses has time
	no := badLogin
	no.log = err.Error()
	return &no
}

// review ends the connections of clients who would not be let in any more: their user has
// gone or has another password. Mosquitto does the same with the passwords that it keeps; we
// keep none, so that a new hash of the same password ends the connection as well, and the
// client comes back with it.
func (b *Broker) review() {
	var all []*client
	b.clients.mu.Lock()
	for c := range b.clients.open {
		if c.stage == connectedStage {
			all = append(all, c)
		}
	}
	b.clients.mu.Unlock()
	for _, c := range all {
		c.review()
	}
}

// review ends the connection if the client would not be let in any more.
func (c *client) review() {
	if c.badge.identity == "" && c.broker.options.Access.Stamp(c.badge.user) != c.badge.stamp {
		c.endFor(broker.CodeNotAuthorized, "the user may not connect any more")
	}
}
