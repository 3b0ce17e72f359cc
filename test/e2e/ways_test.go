package e2e

import (
	"fmt"
	"net"
	"testing"
)

// TestEveryWayIn has one gateway with devices on UDP, on DTLS, on lines of every framing,
// on a radio, and behind forwarders on UDP and on a line. Each hears what each of them
// publishes.
func TestEveryWayIn(t *testing.T) {
	t.Parallel()
	for _, setup := range []string{embedded, upstream} {
		t.Run(setup, func(t *testing.T) {
			t.Parallel()
			all := networks{newTunnels(t, secure)}
			for _, m := range media {
				all = append(all, newNetwork(t, m))
			}
			everyWayIn(newRigOn(t, overUDP, all, setup))
		})
	}
}

// networks are several that one gateway serves.
type networks []network

func (n networks) args() []string {
	var args []string
	for _, one := range n {
		args = append(args, one.args()...)
	}
	return args
}

// dial is not to be used: a test says on which of them a device is.
func (n networks) dial(t testing.TB) net.Conn {
	t.Fatal("on which network?")
	return nil
}

// secure is the identity, and so the ClientID, of the device on DTLS.
const secure = "secure"

func everyWayIn(r *rig) {
	udp := func() net.Conn { return dialUDP(r.T, r.gateway.udp) }
	crowd := []*device{newDeviceOn(r.T, udp, "udp"), r.forwarderOn(udp()).device("udp-node", "07")}
	for _, n := range r.network.(networks) {
		dial := func() net.Conn { return n.dial(r.T) }
		switch n := n.(type) {
		case *tunnels:
			crowd = append(crowd, newDeviceOn(r.T, dial, secure))
		case *radio:
			crowd = append(crowd, newDeviceOn(r.T, dial, "radio"))
		case *lines:
			crowd = append(crowd, newDeviceOn(r.T, dial, string(n.medium)), r.forwarderOn(dial()).device(string(n.medium)+"-node", "07"))
		}
	}
	for _, d := range crowd {
		d.connect(cleanSession, minute)
		d.subscribeAll("from/#", 1)
		d.register("from/" + d.id)
	}
	watcher := r.watch("from/#")
	for _, speaker := range crowd {
		topic := "from/" + speaker.id
		speaker.tell(fmt.Sprintf("__ 0C 20 {%s} 00 07 'hello'", topic))
		if speaker.next("07 0D ?? ?? 00 07 00") { // else its own message is first
			speaker.receive(topic, "hello", 1)
		} else {
			speaker.receive(topic, "hello", 1)
			speaker.expect("07 0D ?? ?? 00 07 00")
		}
		for _, d := range crowd {
			if d != speaker {
				d.receive(topic, "hello", 1)
			}
		}
		watcher.expect(topic, "hello", 1)
	}
	for _, d := range crowd {
		d.alive()
	}
}
