// Package faults kills, cuts off, fills up and starves the built gateway, and lets one
// oracle judge what became of the messages: see [Ledger].
//
// Its devices and its MQTT clients keep their state and repeat themselves as the
// specifications ask, over every restart of the gateway, so that whatever is missing or
// comes twice is the gateway's doing.
//
// Each test has a short form, which ./test/run runs, and a full one:
//
//	go test ./test/faults
//	FAULTS=long go test -timeout 60m ./test/faults
//	go test ./test/faults -run TestKill -seed 12345
//
// A test prints its seed and its figures. The seed decides when and where faults happen;
// how the processes are scheduled is the machine's affair.
//
// Needed on the PATH: go, mosquitto, strace. ./test/run installs them. Environment:
//
//	FAULTS=long          the full forms
//	FAULTS_SEED=number   as -seed
//	FAULTS_PLANTED=name  only this planted mistake, whatever the form
//	FAULTS_BINARY=path   test this binary instead of building ./cmd/gateway
package faults
