// Package conformance tests a broker against the normative statements of MQTT 5, and of
// MQTT 3.1.1 where it differs, from outside: octets over TCP, or over WebSocket. A
// statement has the id that the specification gives it, and one test by that name:
//
//	go test ./test/conformance -run 'TestEmbedded/MQTT-3.1.0-1'
//
// The tests run against the embedded broker (TestEmbedded), against one that makes durable
// what it promises (TestDurable) and, as a judge of the tests themselves, against the mosquitto of this machine (TestMosquitto). What Mosquitto is
// known to do otherwise stands with its reason in testdata/mosquitto.csv; such a
// statement is tried all the same, but its failure counts for nothing.
//
// testdata/statements.csv lists every statement of MQTT 5, and where it is tested.
//
// A test is one statement(...) in the file of its packet, with the version it holds for.
// With v5 or both the ids are those of MQTT 5; with v311 alone they are those of MQTT
// 3.1.1, written MQTT311-3.1.0-1. Tests run at the same time and share a broker, so
// client ids and topics come from [T.id] and [T.topic]; a test that needs other settings
// has a broker of its own, by [T.own]. What a client sends against the rules is written
// as octets, see octets_test.go, since our encoder does not break them.
//
// That nothing comes is not waited for: see client.quiet and client.next.
package conformance
