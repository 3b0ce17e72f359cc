package embedded

import (
	"cmp"
	"log/slog"
	"strings"
	"sync/atomic"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// ending is how the connection of a client came to its end.
type ending struct {
	code broker.Code // why the broker ended it, or one of the following
	why  string      // more about it, for the log; may be empty
}

// The ends that no failure stands for.
const (
	endLeft    = broker.Code(mqtt.CodeSuccess)     // the client has sent DISCONNECT
	endLost    = broker.Code(mqtt.CodeGrantedQoS1) // the connection was closed or broken
	endUnheard = broker.Code(mqtt.CodeGrantedQoS2) // before a CONNECT had come
	// A message was not taken and its publisher, before MQTT 5, could not be told.
	endStoreFull = endUnheard + 1
	// Refusals of a CONNECT that are told as "not authorized".
	refusedAnonymous = endUnheard + 2 // there is no user name
	refusedOwner     = endUnheard + 3 // the session of that client id is somebody else's
)

// usualEnds are the ends that are counted from the start on, even if there were none yet.
var usualEnds = []broker.Code{
	endLeft, endLost, endUnheard, endStoreFull,
	broker.Code(mqtt.CodeMalformed), codeProtocolError, broker.CodePacketTooLarge,
	codeKeepAliveTimeout, broker.CodeTakenOver, broker.CodeShuttingDown, broker.CodeServerBusy,
	codeTopicAlias, codeReceiveMaximum, broker.CodeQuota, broker.CodeNotAuthorized,
}

// usualRefusals are the same for CONNECTs that were refused.
var usualRefusals = []broker.Code{
	broker.Code(mqtt.CodeMalformed), codeProtocolError, broker.Code(mqtt.CodeUnsupportedVersion),
	codeClientID, codeAuthenticationMethod, broker.CodeQuota,
	broker.CodeServerUnavailable, broker.CodeNotAuthorized, broker.CodeTopicName,
	codeBadCredentials, refusedAnonymous, refusedOwner, broker.CodeServerBusy,
}

// endName is the name of an end for metrics and the log: for a reason code the
// specification's, such as keep_alive_timeout.
func endName(code broker.Code) string {
	switch code {
	case endLeft:
		return "disconnect"
	case endLost:
		return "connection_lost"
	case endUnheard:
		return "no_connect"
	case endStoreFull:
		return "store_full"
	case refusedAnonymous:
		return "anonymous_not_allowed"
	case refusedOwner:
		return "client_id_not_own"
	}
	return strings.ReplaceAll(strings.ToLower(mqtt.Code(code).String()), " ", "_")
}

// byCode counts by reason code.
type byCode [256]atomic.Uint64

// named is what was counted, by name: the usual ones, and what else there was.
func (n *byCode) named(usual []broker.Code) map[string]uint64 {
	all := make(map[string]uint64)
	for _, code := range usual {
		all[endName(code)] = 0
	}
	for code := range n {
		if count := n[code].Load(); count > 0 {
			all[endName(broker.Code(code))] += count
		}
	}
	return all
}

// ends notes that the connection is over and how. It reports whether it was not before.
func (c *client) ends(code broker.Code, why string) bool {
	first := c.ending.CompareAndSwap(nil, &ending{code, why})
	if first {
		c.over.Store(true)
	}
	return first
}

// welcome logs a client that was let in.
func (c *client) welcome(p *mqtt.Connect) {
	args := []any{"client", shown(c.session.id), "remote", where(c),
		"version", c.version.String(), "clean", p.CleanStart, "keep_alive", p.KeepAlive}
	if c.badge != nil {
		args = append(args, "user", shown(c.badge.user))
	}
	c.broker.journal.write(slog.LevelInfo, "MQTT client connected", args...)
}

// turnAway counts and logs a CONNECT that is refused. The client id may be empty.
func (c *client) turnAway(clientID string, code broker.Code, why string) {
	c.turnAwayFor(clientID, &refusal{code: code, counted: code, why: why})
}

// turnAwayFor is turnAway with more of a reason. What somebody may not do is a warning.
func (c *client) turnAwayFor(clientID string, no *refusal) {
	c.refused = true
	c.broker.stats.refusedConnects[no.counted].Add(1)
	level := slog.LevelInfo
	args := []any{"client", shown(clientID), "remote", where(c), "reason", endName(no.counted), "why", cmp.Or(no.log, no.why)}
	if c.badge != nil {
		args = append(args, "user", shown(c.badge.user))
	}
	if no.code == broker.CodeNotAuthorized || no.code == codeBadCredentials {
		level = slog.LevelWarn
	}
	c.broker.journal.write(level, "MQTT client refused", args...)
}

// departed counts and logs the end of the connection, when all is over and no lock is
// held.
func (c *client) departed() {
	if c.refused {
		return
	}
	e := c.ending.Load()
	switch {
	case e != nil:
	case c.session == nil:
		e = &ending{code: endUnheard}
	default:
		e = &ending{code: endLost}
	}
	c.broker.stats.ends[e.code].Add(1)
	if c.session == nil {
		// Health checks and scans of ports are not worth more.
		c.broker.journal.write(slog.LevelDebug, "connection closed before MQTT was spoken", "remote", where(c), "reason", endName(e.code))
		return
	}
	args := []any{"client", shown(c.session.id), "remote", where(c), "reason", endName(e.code)}
	if e.why != "" {
		args = append(args, "why", e.why)
	}
	if c.takenBy != "" {
		args = append(args, "by", c.takenBy)
	}
	c.broker.journal.write(slog.LevelInfo, "MQTT client disconnected", args...)
}

// where is where a line comes from, for the log.
func where(l line) string {
	if c, ok := l.(*client); ok {
		return remote(c.socket).String()
	}
	return "an MQTT-SN device"
}
