package auth

import "encoding/binary"

// Checks reports whether passwords are checked: if not, a user name proves nothing.
func (g *Guard) Checks() bool { return g != nil && g.now.Load().passwords != nil }

// Stamp stands for the password of a user as the file has it: after a Reload that has found
// another hash it is another one, and whoever was let in before has to log in again. It is 0
// if the user has none to check.
func (g *Guard) Stamp(user string) uint64 {
	if g == nil {
		return 0
	}
	p := g.now.Load().passwords
	if p == nil || p.byUser[user] == nil {
		return 0
	}
	return binary.BigEndian.Uint64(p.byUser[user].hash.sum[:])
}
