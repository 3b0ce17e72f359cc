package upstream

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"mqttsn-gateway/broker"
)

// What a template may name.
const (
	placeClientID = "clientid" // the device's ClientID, without ClientIDPrefix
	placeUser     = "user"
	placeIdentity = "identity"
)

// template is a text in which ${...} stands for something that differs from client to client.
type template string

// check reports a name in the template that is not one of allowed.
func (t template) check(allowed ...string) error {
	for rest := string(t); ; {
		_, after, found := strings.Cut(rest, "${")
		if !found {
			return nil
		}
		name, behind, closed := strings.Cut(after, "}")
		if !closed || !slices.Contains(allowed, name) {
			return fmt.Errorf("%q is not allowed: of what stands in ${} only ${%s} is known", string(t), strings.Join(allowed, "}, ${"))
		}
		rest = behind
	}
}

// varies reports whether the text differs from client to client.
func (t template) varies() bool { return strings.Contains(string(t), "${") }

// fill makes the text for a client. It fails if something that it names is unknown.
func (t template) fill(clientID string, as broker.Principal) (string, error) {
	values := map[string]string{placeClientID: clientID, placeUser: as.User, placeIdentity: as.Identity}
	var b strings.Builder
	for rest := string(t); ; {
		before, after, found := strings.Cut(rest, "${")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, behind, _ := strings.Cut(after, "}")
		value := values[name]
		if value == "" {
			return "", fmt.Errorf("%q cannot be filled in: the client has no %s", string(t), name)
		}
		b.WriteString(value)
		rest = behind
	}
}

// fileName says what keeps a ClientID from being a part of a file's name; "" if nothing does.
// It comes from the network, and must not lead out of the directory.
func fileName(clientID string) (fault string) {
	switch {
	case clientID == "":
		return "it is empty"
	case clientID == "." || strings.Contains(clientID, ".."):
		return "it has .., or is a dot"
	case strings.ContainsAny(clientID, "/\\\x00"), runtime.GOOS == "windows" && strings.ContainsAny(clientID, `:*?"<>|`):
		return "it has a character that separates names of files"
	}
	return ""
}
