package e2e

import (
	"slices"
	"strings"
	"testing"
)

// variant runs the tests of a set-up once more, with a gateway that keeps state. Devices
// should see no difference.
type variant struct {
	name    string
	setup   string
	groups  string // first letters of the ids
	setting setting
	differs map[string]string // where they do, and why
}

// Ids that the broker has a part in.
const (
	brokerAway     = "what the broker does not take yet is spooled, and acknowledged"
	brokerRefuses  = "what the broker refuses becomes a dead letter, and is acknowledged before"
	otherClientIDs = "the broker knows the connections, not the devices"
)

var variants = []variant{
	{name: "kept", setup: embedded, groups: "PSZWK", setting: withState},
	{name: "spooled", setup: upstream, groups: "PSZW", setting: withState, differs: map[string]string{
		"P04": brokerAway, "P05": brokerAway, "P24": brokerAway, "P26": brokerRefuses, "P27": brokerRefuses,
	}},
	{name: "over TLS", setup: upstream, groups: "PW", setting: overTLS},
	{name: "aggregating", setup: upstream, groups: "PSZW", setting: aggregating, differs: map[string]string{
		"P04": brokerAway, "P05": brokerAway, "P24": brokerAway, "P26": brokerRefuses, "P27": brokerRefuses,
		"Z33": otherClientIDs,
	}},
}

func (v *variant) run(t *testing.T, id string, c check) {
	if c.run == nil || c.medium != "" || len(id) < 3 || !strings.Contains(v.groups, id[:1]) || id[1] < '0' || id[1] > '9' {
		return
	}
	t.Run(v.name, func(t *testing.T) {
		t.Parallel()
		if why := v.differs[id]; why != "" {
			t.Logf("%s does not apply here: %s", id, why)
			return
		}
		c.settings = append(slices.Clone(c.settings), v.setting)
		c.run(c.rig(t, v.setup))
	})
}
