package e2e

import (
	"slices"
	"testing"
)

// TestPublishOverDTLS and TestSleepOverDTLS are groups P and Z of the checklist, with
// openssl as the device's end of DTLS.
func TestPublishOverDTLS(t *testing.T) { runOverDTLS(t, publishing) }

func TestSleepOverDTLS(t *testing.T) { runOverDTLS(t, sleeping) }

// runOverDTLS runs each id with the embedded broker, or with Mosquitto if it means nothing
// there. One identity may be all ClientIDs, for a test's devices get their connections
// before they have one.
func runOverDTLS(t *testing.T, tables []table) {
	t.Parallel()
	for _, group := range tables {
		for id, setups := range group {
			setup := embedded
			if setups[setup].run == nil {
				setup = upstream
			}
			t.Run(id, func(t *testing.T) {
				t.Parallel()
				overDTLS(t, setups[setup], setup)
			})
		}
	}
}

// overDTLS runs one test. onTime makes its next attempt over UDP, which is of no interest:
// the settings tell, for they are asked once per attempt. All of it is done again then.
func overDTLS(t *testing.T, c check, setup string) {
	t.Helper()
	const attempts = 5
	for range attempts {
		started := 0
		settings := append(slices.Clone(c.settings), key("gateway.identity_client_ids", `["*"]`), func(*plan) { started++ })
		n := newTunnels(t, anybody)
		r := newRigOn(t, overUDP, n, setup, settings...)
		c.run(r)
		if r.handshakes("accepted") == 0 {
			t.Error("no device has used DTLS")
		}
		if started == 1 {
			return
		}
	}
	t.Fatalf("the machine was too busy %d times", attempts)
}
