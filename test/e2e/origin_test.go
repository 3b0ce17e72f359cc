package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// TestOrigin: MQTT 5 subscribers learn who has published and by which way, as the chapter
// on the broker inside shows it: the option and the command are those of the chapter.
func TestOrigin(t *testing.T) {
	t.Parallel()
	option, command := whoPublished(t)
	for _, setup := range []string{embedded, upstream} {
		t.Run(setup, func(t *testing.T) {
			t.Parallel()
			t.Run("told", func(t *testing.T) {
				t.Parallel()
				originTold(newRigOn(t, overUDP, newOldRadio(t), setup, key("gateway.user_properties", option), key("gateway.id", "7"), alarmTopic), command)
			})
			t.Run("not told", func(t *testing.T) {
				t.Parallel()
				originNotTold(newRigOn(t, overUDP, newOldRadio(t), setup), command)
			})
		})
	}
}

func alarmTopic(p *plan) {
	p.predefined = append(p.predefined, `{id: 32, topic: "sensors/alarm"}`)
}

// whoPublished are the option and the command in the chapter.
func whoPublished(t *testing.T) (option, command string) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "broker.md"))
	if err != nil {
		t.Fatal(err)
	}
	options := regexp.MustCompile(`(?m)^  user_properties: (.*)$`).FindSubmatch(text)
	commands := regexp.MustCompile(`(?m)^    (mosquitto_sub .*)$`).FindSubmatch(text)
	if options == nil || commands == nil {
		t.Fatal("docs/broker.md has no example any more")
	}
	return string(options[1]), string(commands[1])
}

// listen runs the command against the broker, until it has shown that it is subscribed.
func (r *rig) listen(command string) *output {
	r.Helper()
	host, port, _ := net.SplitHostPort(r.gateway.mqtt)
	r.publish("sensors/ready", "yes", 1, true)
	p := launch(r.T, "mosquitto_sub", "sh", "-c", fmt.Sprintf("exec %s -h %s -p %s", command, host, port))
	r.Cleanup(p.kill)
	eventually(r.T, "mosquitto_sub is subscribed", func() bool { return strings.Contains(p.log.String(), "sensors/ready") })
	return p.log
}

// prints waits for a line.
func (r *rig) prints(log *output, line string) {
	r.Helper()
	if !within(patience, func() bool { return strings.Contains("\n"+log.String(), "\n"+line+"\n") }) {
		r.Fatalf("mosquitto_sub has not printed %q but\n%s", line, log)
	}
}

func originTold(r *rig, command string) {
	log := r.listen(command)
	udp := " mqttsn-gateway:7 mqttsn-hop:udp " + r.gateway.udp

	direct := newDeviceOn(r.T, func() net.Conn { return dialUDP(r.T, r.gateway.udp) }, "cli-1")
	direct.connectWithWill(cleanSession, brief, will{"20 'sensors/lost'", "'bye'"})
	direct.register("sensors/1")
	direct.tell("__ 0C 00 {sensors/1} 00 00 'zero'")
	r.prints(log, "sensors/1 mqttsn-client:cli-1"+udp+" zero")
	direct.ask("__ 0C 20 {sensors/1} 00 07 'one'", "07 0D {sensors/1} 00 07 00")
	r.prints(log, "sensors/1 mqttsn-client:cli-1"+udp+" one")
	direct.ask("__ 0C 40 {sensors/1} 00 08 'two'", "04 0F 00 08")
	direct.ask("04 10 00 08", "04 0E 00 08")
	r.prints(log, "sensors/1 mqttsn-client:cli-1"+udp+" two")

	conn := dialUDP(r.T, r.gateway.udp)
	behind := udp + " mqttsn-forwarder:" + conn.LocalAddr().String() + " mqttsn-node:00ff"
	node := r.forwarderOn(conn).device("cli-2", "00 FF")
	node.connect(cleanSession, minute)
	node.register("sensors/2")
	node.ask("__ 0C 30 {sensors/2} 00 07 'kept'", "07 0D {sensors/2} 00 07 00")
	r.prints(log, "sensors/2 mqttsn-client:cli-2"+behind+" kept")
	r.prints(r.listen(command), "sensors/2 mqttsn-client:cli-2"+behind+" kept") // as a retained message

	radio := r.network.(*oldRadio)
	wave := newDeviceOn(r.T, r.dial, "cli-3")
	wave.connect(cleanSession, minute)
	wave.register("sensors/3")
	for i, strength := range []byte{71, 100} {
		radio.hearAt(strength)
		wave.ask(fmt.Sprintf("__ 0C 20 {sensors/3} 00 %02X 'far'", i+1), fmt.Sprintf("07 0D {sensors/3} 00 %02X 00", i+1))
		r.prints(log, fmt.Sprintf("sensors/3 mqttsn-client:cli-3 mqttsn-gateway:7 mqttsn-signal:-%d mqttsn-hop:serial %s mqttsn-node:%016x far",
			strength, radio.line.device, uint64(nodeAddressPrefix)))
	}

	// QoS -1 without a session: nobody knows whose it is.
	newDeviceOn(r.T, func() net.Conn { return dialUDP(r.T, r.gateway.udp) }, "stranger").tell("__ 0C 61 00 20 00 00 'alarm'")
	r.prints(log, "sensors/alarm"+udp+" alarm")
	r.prints(log, "sensors/lost mqttsn-client:cli-1"+udp+" bye") // cli-1 has been silent
}

func originNotTold(r *rig, command string) {
	log := r.listen(command)
	d := newDeviceOn(r.T, func() net.Conn { return dialUDP(r.T, r.gateway.udp) }, "cli-1")
	d.connect(cleanSession, minute)
	d.register("sensors/1")
	d.ask("__ 0C 20 {sensors/1} 00 07 'one'", "07 0D {sensors/1} 00 07 00")
	r.prints(log, "sensors/1  one") // nothing stands between the two blanks
}

// oldRadio is an 802.15.4 module on the gateway's serial line, whose frames tell how strong
// each packet was, and one node in its reach.
type oldRadio struct {
	line *line
	node *packetConn

	mu       sync.Mutex
	strength byte // of what the node sends, below 0 dBm
}

// The frames of 802.15.4 modules.
const api802Transmit, api802Status, api802Receive = 0x00, 0x89, 0x80

func newOldRadio(t testing.TB) *oldRadio {
	r := &oldRadio{strength: 50}
	r.line = newLine(t, lineOptions{codec: xbeeCodec(), baud: swift, flags: []string{"xbee_firmware=802.15.4"}})
	hear := r.hear
	r.line.hear.Store(&hear)
	return r
}

func (r *oldRadio) args() []string { return []string{"--serial", r.line.flag(overXBee)} }

func (r *oldRadio) dial(t testing.TB) net.Conn {
	c := newPacketConn(t, "node", r.send)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.node = c
	return c
}

func (r *oldRadio) hearAt(strength byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.strength = strength
}

// send is a packet of the node.
func (r *oldRadio) send(packet []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	frame := binary.BigEndian.AppendUint64([]byte{api802Receive}, nodeAddressPrefix)
	return r.line.write(append(append(frame, r.strength, 0), packet...))
}

// hear is a frame from the gateway.
func (r *oldRadio) hear(data []byte) {
	const header = 11
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case data[0] == apiAT && len(data) >= 4 && data[1] != 0:
		_ = r.line.write([]byte{apiATResponse, data[1], data[2], data[3], 0, 0xFF, 0xFF})
	case data[0] == api802Transmit && len(data) > header && r.node != nil:
		r.node.deliver(append([]byte{}, data[header:]...))
		_ = r.line.write([]byte{api802Status, data[1], delivered})
	}
}
