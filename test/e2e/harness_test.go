package e2e

import (
	"net"
	"testing"
	"time"
)

// The tests of what the tests are made of.

// TestDevice lets a device talk to a socket that echoes.
func TestDevice(t *testing.T) {
	t.Parallel()
	echo, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = echo.Close() })
	go func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := echo.ReadFrom(buf)
			if err != nil {
				return
			}
			if _, err := echo.WriteTo(buf[:n], from); err != nil {
				return
			}
		}
	}()
	d := newDevice(t, echo.LocalAddr().String(), "cli-1")
	d.silent(10 * time.Millisecond)
	d.tell("07 0B 00 05 00 01 00")
	d.expect("07 0B {tid} 00 01 00")
	if d.vars["tid"] != 5 {
		t.Errorf("{tid} is %d, want 5", d.vars["tid"])
	}
	d.tell("02 17")
	if d.next("02 18") {
		t.Error("PINGRESP is taken for DISCONNECT")
	}
	d.expect("02 17")
	d.tell("03 05 00")
	d.tell("04 0E 00 08")
	d.expectAll("04 0E 00 08", "03 05 00")
	d.names[5] = "s/temp"
	d.tell("__ 0C 20 {tid} 00 09 'hi'")
	d.receive("s/temp", "hi", 1)
	d.expect("07 0D {tid} 00 09 00")
}

// TestMosquitto checks the broker and the MQTT client of the tests on each other.
func TestMosquitto(t *testing.T) {
	t.Parallel()
	m := startMosquitto(t, newPlan())
	watcher := dialMQTT(t, m.addr, "watcher", true)
	watcher.subscribe("s/#", 2)
	publisher := dialMQTT(t, m.addr, "publisher", true)
	for qos := range byte(3) {
		publisher.publish("s/temp", "hi", qos)
		watcher.expect("s/temp", "hi", qos)
	}
	publisher.publish("s/kept", "hi", 1, true)
	if watcher.expect("s/kept", "hi", 1).retain {
		t.Error("a live message is marked as retained")
	}
	late := dialMQTT(t, m.addr, "late", false)
	late.subscribe("s/#", 1)
	if !late.expect("s/kept", "hi", 1).retain {
		t.Error("the retained message is not marked so")
	}
	watcher.nothing(10 * time.Millisecond)
	m.freeze()
	publisher.write(pingreq())
	select {
	case p := <-publisher.answers:
		t.Errorf("frozen mosquitto answers %v", p)
	case <-time.After(moment):
	}
	m.thaw()
	<-publisher.answers
	if m.said(" as publisher ") != 1 {
		t.Errorf("mosquitto's log has %d connections of the publisher", m.said(" as publisher "))
	}
	_ = late.conn.Close()
	if !dialMQTT(t, m.addr, "late", false).sessionPresent {
		t.Error("the session did not stay")
	}
	m.kill()
	m.start(t)
	dialMQTT(t, m.addr, "watcher", true).subscribe("s/#", 2)
}

// TestScript checks the scripted broker.
func TestScript(t *testing.T) {
	t.Parallel()
	s := startScript(t)
	s.answers(0, 2, 0x10)
	c := dialMQTT(t, s.addr, "cli-1", true)
	c.subscribe("s/#", 2)
	for qos := range byte(3) {
		c.publish("s/temp", "hi", qos)
	}
}
