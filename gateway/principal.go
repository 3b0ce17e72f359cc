package gateway

import (
	"fmt"
	"slices"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/mqttsn"
)

// This file says who the clients are, and what follows from it. Whoever has proven an
// identity is the user that the identity file names, or else has the identity's own name.
// All others are the user of the link that they came by, and so are the nodes of a forwarder,
// whatever that has proven: it speaks for them, and nobody proves that it tells the truth.

// principal is on whose behalf a peer acts that has proven identity, or nothing.
func (in *intake) principal(identity string) broker.Principal {
	if identity == "" {
		return broker.Principal{User: in.user}
	}
	return broker.Principal{User: in.gateway.userOf(identity), Identity: identity}
}

// act makes the client act on behalf of as from now on, with the rights of that.
func (c *client) act(as broker.Principal) {
	c.as = as
	g := c.shard.gateway
	if r := g.options.Access.Rights(auth.Subject{Client: c.session.ID(), User: as.User}); r != nil {
		c.session.SetRights(r)
	} else {
		c.session.SetRights(nil)
	}
}

// rightsWithoutSession are those of a peer that publishes with QoS -1. Its ClientID is only
// known where its identity has but one.
func (g *Gateway) rightsWithoutSession(as broker.Principal) *auth.Rights {
	id := g.clientOf(as.Identity)
	if id == "" {
		id = g.options.QoSMinusOneClientID
	}
	return g.options.Access.Rights(auth.Subject{Client: id, User: as.User})
}

// commonUser is the user of all links if they have the same, else nobody.
func (g *Gateway) commonUser() broker.Principal {
	for _, in := range g.intakes {
		if in.user != g.intakes[0].user {
			return broker.Principal{}
		}
	}
	return broker.Principal{User: g.intakes[0].user}
}

// foreign says why a peer that acts on behalf of as may not use a ClientID, c being the client
// that has it, nil if there is none; the text is "" if it may.
func (s *shard) foreign(c *client, clientID string, as broker.Principal) (why reason, text string) {
	g := s.gateway
	switch {
	case as.Identity != "" && !g.mayUse(as.Identity, clientID):
		return identityRefused, "the ClientID is not one for this identity; gateway.identity_file and gateway.identity_client_ids say which are"
	case c == nil:
	case c.as.Identity != "" && c.as.Identity != as.Identity && (as.Identity == "" || g.mayUse(c.as.Identity, clientID)):
		return identityRefused, "the session belongs to a client with another identity"
	case c.as.Identity == "" && as.Identity == "" && c.as.User != as.User && alive(c):
		return userRefused, "the client is connected by a listener of another user"
	}
	return 0, ""
}

// hand gives a session to who has sent a CONNECT for it. What somebody else has put into it
// is not for them: the session begins anew.
func (s *shard) hand(c *client, as broker.Principal, p *mqttsn.Connect) {
	if was := c.as; was == as {
		return
	} else if was.Identity != as.Identity || as.Identity == "" {
		p.CleanSession = true
		if s.complaints.take(s.gateway.now()) {
			s.gateway.log.Info("a session goes to a client with another identity or user, and begins anew",
				"client", c.session.ID(), "identity", as.Identity, "user", as.User, "was_identity", was.Identity, "was_user", was.User)
		}
		if was.Identity != "" {
			c.leaveNothing()
		}
	}
	c.act(as)
}

// leaveNothing ends the broker's session of the client, on whose behalf it acts still: who
// comes after it has no right to that, not even to end it. The session here finds itself
// disconnected with its next request, which is to begin anew.
func (c *client) leaveNothing() {
	for _, r := range [...]broker.Request{
		{Op: broker.Disconnect},
		{Op: broker.Connect, CleanSession: true},
		{Op: broker.Disconnect},
	} {
		_ = c.ask(&r)
	}
}

// takeover notes that a client which has proven nothing goes on from another address.
func (s *shard) takeover(in *intake, c *client, a *arrival) {
	if !alive(c) || c.as.Identity != "" {
		return
	}
	s.counts.takeovers++
	if s.moves.take(s.gateway.now()) {
		was := "-"
		if c.place != nil {
			was = c.place.peer.Addr.String()
		}
		s.gateway.log.Info("a client goes on from another address", "client", c.session.ID(), "link", in.link.Name(), "peer", in.where(a), "was", was)
	}
}

// mayUse reports whether a peer with that identity may use a ClientID: by the file, if one of
// them stands there, else by the templates.
func (g *Gateway) mayUse(identity, clientID string) bool {
	file := g.identities.Load()
	if e := file.by[identity]; e != nil {
		return slices.Contains(e.clientIDs, clientID)
	}
	_, given := file.clientIDs[clientID]
	return !given && g.options.mayUse(identity, clientID)
}

// clientOf is the one ClientID that an identity may use; "" if there are more, or none.
func (g *Gateway) clientOf(identity string) string {
	switch e := g.identities.Load().by[identity]; {
	case identity == "":
	case e != nil && len(e.clientIDs) == 1:
		return e.clientIDs[0]
	case e == nil && g.options.identityIsClientID() && g.mayUse(identity, identity):
		return identity
	}
	return ""
}

// userOf is the user that an identity stands for: what the file says, else the identity.
func (g *Gateway) userOf(identity string) string {
	if e := g.identities.Load().by[identity]; e != nil && e.user != "" {
		return e.user
	}
	return identity
}

// Files are the files that Reload reads.
func (g *Gateway) Files() []string {
	if g.options.IdentityFile == "" {
		return nil
	}
	return []string{g.options.IdentityFile}
}

// CheckFiles reads the files that the options name, and reports what is wrong with them, first
// the key of the option.
func (o *Options) CheckFiles() error {
	_, err := o.readIdentities()
	return err
}

// Reload reads the identity file again. A client that may not use its ClientID any more is
// told so and lost; all others stay connected. The error says what is wrong with the file,
// and nothing has changed then.
func (g *Gateway) Reload() error {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	if err := g.loadIdentities(); err != nil {
		return err
	}
	for _, s := range g.shards {
		s.mu.Lock()
		now := time.Now()
		for _, c := range s.clients {
			if !c.asIs {
				s.examine(now, c)
			}
		}
		s.leave(now)
	}
	g.settle()
	return nil
}

func (g *Gateway) loadIdentities() error {
	m, err := g.options.readIdentities()
	if err != nil {
		return fmt.Errorf("gateway.%w", err)
	}
	g.identities.Store(newIdentities(m))
	return nil
}

// readIdentities reads the identity file, if there is one.
func (o *Options) readIdentities() (identityMap, error) {
	if o.IdentityFile == "" {
		return identityMap{}, nil
	}
	m, err := readIdentityFile(o.IdentityFile, &o.Session)
	if err != nil {
		return nil, fmt.Errorf("identity_file: %w", err)
	}
	return m, nil
}

// examine applies to a client what the identity file says now.
func (s *shard) examine(now time.Time, c *client) {
	g, identity := s.gateway, c.as.Identity
	if identity == "" || c.gone {
		return
	}
	if g.mayUse(identity, c.session.ID()) {
		if user := g.userOf(identity); user != c.as.User {
			c.act(broker.Principal{User: user, Identity: identity})
		}
		return
	}
	if !alive(c) {
		return
	}
	if s.complaints.take(g.now()) {
		g.log.Warn("a client is disconnected: its identity may not use this ClientID any more", "client", c.session.ID(), "identity", identity)
	}
	c.session.Revoke(now, &s.fx)
	s.apply(now, c)
}
