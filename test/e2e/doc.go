// Package e2e tests the built binary as a black box, over real UDP and over
// pseudo-terminals, with the embedded broker and with a real Mosquitto upstream.
//
// The conformance ids are those of the checklist in section 6 of the MQTT-SN 1.2
// reference; testdata/ids.txt lists them. Each is a test of its own in each set-up, which
// is a broker (devices come over UDP) or, in the groups S, P, Z, D and X, a framing of
// serial lines (the broker is the embedded one if the test runs with that):
//
//	go test ./test/e2e -run 'TestConnect/C07/mosquitto'
//	go test ./test/e2e -run 'TestSleep/Z04/xbee'
//
// A device on a line has a pseudo-terminal of its own; behind xbee is a simulated ZigBee
// network of all devices. noise_test.go has lines that change octets and are unplugged,
// radionet_test.go a network that loses packets. Over DTLS, in the groups P and Z, the
// client is openssl (dtls_openssl_test.go). How much of a line is left for packets:
//
//	go test ./test/e2e -run '^$' -bench Serial -benchtime 2000x
//
// A test starts its own gateway, and its own Mosquitto if it needs one, so client ids
// and topics are those of the reference, and nothing one test does is seen by another.
// The device side is a socket or a line, and octets: it shares no code with the gateway's
// codec, and codec_test.go none with the gateway's framings.
// Every datagram that any gateway sent is judged at once by the rules of judge_test.go,
// and at the end of the run by tshark's MQTT-SN dissector.
//
// Durations on the wire are whole seconds, so the tests scale the reference's figures:
// 10 s becomes 3 s. T_retry is 5 s unless a test is about retransmission, for a busy
// machine shall not repeat what the tests expect once.
//
// The foreign clients of foreign_test.go are programs of testdata around paho-mqtt and
// MQTT.js, which a test tells what to do, and the Mosquitto clients.
//
// Needed on the PATH: go, mosquitto, mosquitto_pub, mosquitto_sub, mosquitto_rr, node,
// openssl, python3, stdbuf, tshark; and python3-paho-mqtt, and npm ci in testdata/mqttjs.
// ./test/run installs them. Environment:
//
//	E2E_BINARY=path   test this binary instead of building ./cmd/gateway
//	E2E_RACE=1        build it with the race detector
//	E2E_RELOADS=1000  have TestReloadUnderLoad reload so often, instead of 30 times
//
// To add an id:
//
//  1. its line in testdata/ids.txt, if it is new,
//  2. its entry in the table of its group: both(func(r *rig){...}) when the same test
//     holds in both set-ups, else one entry per set-up; absent("why") needs a reason,
//     which is printed at the end of every run. overMedia adds the framings, and takes
//     what one of them needs to have otherwise.
package e2e
