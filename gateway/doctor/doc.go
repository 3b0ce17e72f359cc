// Package doctor finds out why the gateway does not work on a machine, and says which
// command mends it: serial ports that do not open, ports that others have, a broker that
// does not answer, a clock that is wrong.
//
// It is used in two ways. The subcommand "gateway doctor" looks at everything and makes a
// [Report] of [Finding]s. A start that failed asks about the one thing that it failed at:
// [SerialPort], [UDPPort] and [TCPPort] give an error the same words.
//
// What is looked at are mostly files (/sys, /proc, /dev, /etc), which all hang below one
// [system]: tests point it to a tree of their own. Where a platform has no such files the
// answers are shorter, not wrong.
//
// To add a check:
//  1. a function or method that returns Findings, in a file of its own,
//  2. a test for each thing that it can find, over a tree made for it,
//  3. a call in cmd/gateway/doctor.go.
package doctor
