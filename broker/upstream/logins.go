package upstream

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// login is what one client presents to the broker.
type login struct {
	username string
	password []byte // nil: none
	line     int    // where it stands
}

// maxLogins bounds the lines of a credentials file. Each costs some 150 octets of memory.
const maxLogins = 1000000

// readLogins reads a table of lines CLIENTID:USERNAME:PASSWORD. In the first two, \: stands
// for a colon, \\ for a backslash and \# for a number sign; the password is the rest of the
// line as it is, and may be empty: then none is presented. Empty lines and lines that begin
// with # are left out. Errors tell line and reason, and nothing of what stands there.
func readLogins(text []byte) (map[string]login, error) {
	all := make(map[string]login)
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		bad := func(format string, args ...any) error {
			return fmt.Errorf("line %d: %s; write CLIENTID:USERNAME:PASSWORD", number, fmt.Sprintf(format, args...))
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == "" || line[0] == '#' {
			continue
		}
		clientID, rest, fault := field(line)
		if fault != "" {
			return nil, bad("%s in the ClientID", fault)
		}
		username, password, fault := field(rest)
		if fault != "" {
			return nil, bad("%s in the user name", fault)
		}
		const longest = 65535 // what MQTT can carry
		switch {
		case clientID == "":
			return nil, bad("the ClientID is missing")
		case username == "":
			return nil, bad("the user name is missing")
		case len(username) > longest || len(password) > longest:
			return nil, bad("the user name or the password is longer than %d octets", longest)
		case all[clientID].line > 0:
			return nil, bad("the ClientID stands in line %d already", all[clientID].line)
		case len(all) >= maxLogins:
			return nil, bad("there are more than %d clients", maxLogins)
		}
		entry := login{username: username, line: number}
		if password != "" {
			entry.password = []byte(password)
		}
		all[clientID] = entry
	}
	return all, nil
}

// field is what stands before the first colon that is meant as one, and what comes after it.
func field(line string) (value, rest string, fault string) {
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case ':':
			if value = b.String(); !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
				return "", "", "something that is no UTF-8, or NUL,"
			}
			return value, line[i+1:], ""
		case '\\':
			i++
			if i == len(line) || line[i] != ':' && line[i] != '\\' && line[i] != '#' {
				return "", "", `a backslash without :, \ or # behind it`
			}
			b.WriteByte(line[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", "no colon"
}
