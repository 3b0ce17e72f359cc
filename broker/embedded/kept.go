package embedded

import "strings"

// What clients make the broker keep besides messages that wait and retained ones is bounded
// for all of them together by max_session_bytes_total: client ids, subscriptions, wills,
// identifiers of QoS 2 messages and the topics of aliases. It counts what these cost in
// memory, about.
const (
	subscriptionCost = 256 // octets of a subscription besides its filter
	levelCost        = 96  // of a level of a filter with wildcards
	idPageCost       = 64  // of some identifiers of QoS 2 messages, see idSet
)

// filterCost is what a subscription to a filter counts.
func filterCost(filter string) int {
	n := subscriptionCost + len(filter)
	if hasWildcard(filter) {
		n += levelCost * (1 + strings.Count(filter, "/"))
	}
	return n
}

// cost is what a will counts; nil is none.
func (w *will) cost() int {
	if w == nil {
		return 0
	}
	return messageCost + w.message.size()
}

// mayKeep reports whether there is room for n octets more.
func (b *Broker) mayKeep(n int) bool {
	limit := int64(b.options.MaxSessionBytesTotal)
	return limit == 0 || b.stats.kept.Load()+int64(n) <= limit
}

// keep notes that the session costs n octets more. The caller holds s.mu.
func (s *session) keep(n int) {
	s.kept += int32(n)
	s.broker.stats.kept.Add(int64(n))
}

// setWill replaces the will, nil for none. The caller holds s.mu.
func (s *session) setWill(w *will) {
	s.keep(w.cost() - s.will.cost())
	s.will = w
}

// mayAdd judges a filter that the client does not subscribe to yet. The caller holds s.mu.
func (s *session) mayAdd(filter string) limit {
	o := &s.broker.options
	share, _ := splitShare(filter)
	switch cost := filterCost(filter); {
	case s.filters.len() >= o.MaxSubscriptions:
		return subscriptionsLimit
	case share != "" && int(s.filters.shared) >= o.MaxSharedSubscriptions:
		return sharedLimit
	case int(s.filters.bytes)+cost > o.MaxSubscriptionBytes:
		return subscriptionBytesLimit
	case !s.broker.mayKeep(cost):
		return sessionBytesLimit
	}
	return noLimit
}

// keepAlias reports whether there is room for the topic of an alias, n octets longer than
// the last one, and if so counts it.
func (c *client) keepAlias(size *int, n int) bool {
	b := c.broker
	if *size+n > b.options.MaxQueuedBytes || n > 0 && !b.mayKeep(n) {
		return false
	}
	*size += n
	b.stats.kept.Add(int64(n))
	return true
}

// dropAliases is called when the connection has ended.
func (c *client) dropAliases() {
	c.broker.stats.kept.Add(-int64(c.aliasesIn.size + c.aliasesOut.size))
}
