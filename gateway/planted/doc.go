// Package planted has mistakes that can be made on purpose, to see that the tests find
// them: test/faults builds the gateway with the build tag planted and runs it with the
// environment variable PLANTED=name, which makes one of them. Without the tag each
// is a constant false, and the compiler leaves it out.
//
// To add a mistake: a constant in off.go, the same name with what it is called in the
// environment in on.go, one line where it belongs, and in test/faults a trial that has to
// find it.
package planted
