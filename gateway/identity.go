package gateway

import (
	"fmt"
	"strings"
)

// identityMark stands in Options.IdentityClientIDs for the identity of the peer.
const identityMark = "${identity}"

// validTemplate reports what is wrong with one of Options.IdentityClientIDs.
func validTemplate(template string) error {
	if template == "" || strings.Contains(strings.ReplaceAll(template, identityMark, ""), "$") {
		return fmt.Errorf("identity_client_ids: %q is not a template: a ClientID with %s for the identity and * for any octets, such as %s-*", template, identityMark, identityMark)
	}
	return nil
}

// identityIsClientID reports whether an identity says which client has it: with templates
// that allow more it may have several.
func (o *Options) identityIsClientID() bool {
	return len(o.IdentityClientIDs) == 1 && o.IdentityClientIDs[0] == identityMark
}

// mayUse reports whether a peer with that identity may use a ClientID.
func (o *Options) mayUse(identity, clientID string) bool {
	for _, template := range o.IdentityClientIDs {
		if matchTemplate(template, identity, clientID) {
			return true
		}
	}
	return false
}

// matchTemplate reports whether a ClientID is what the template says. A * in the identity
// itself stands for nothing but itself.
func matchTemplate(template, identity, clientID string) bool {
	pieces := strings.Split(template, "*")
	for i := range pieces {
		pieces[i] = strings.ReplaceAll(pieces[i], identityMark, identity)
	}
	rest, ok := strings.CutPrefix(clientID, pieces[0])
	if !ok || len(pieces) == 1 {
		return ok && rest == ""
	}
	last := len(pieces) - 1
	for _, piece := range pieces[1:last] {
		_, after, found := strings.Cut(rest, piece)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, pieces[last])
}
