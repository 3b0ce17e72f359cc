package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/mqttsn/client"
)

// All clients come back at once, as after a power cut, and all publish at once. Every
// datagram may be sent twice and not more often: whatever is lost in between, one
// repetition has to cure it.
func TestCrowd(t *testing.T) {
	const crowd = 2000
	// The observer acknowledges one message after the other: its queue must hold them.
	g := startGateway(t, newPlan(key("mqtt.max_queued_messages", fmt.Sprint(crowd))), "", nil)
	observer := dialMQTT(t, g.mqtt, "observer", true)
	observer.subscribe("crowd/#", 1)

	clients := make([]*client.Client, crowd)
	for i := range clients {
		conn, err := net.Dial("udp", g.udp)
		if err != nil {
			t.Fatal(err)
		}
		clients[i] = client.New(conn, client.Options{
			ClientID: fmt.Sprint("crowd-", i), Tretry: 3 * time.Second, Nretry: 1, MaxPacket: 512,
		})
		t.Cleanup(func() { _ = clients[i].Close() })
	}
	together(t, clients, func(ctx context.Context, i int, c *client.Client) error {
		return c.Connect(ctx, client.ConnectOptions{CleanSession: true, KeepAlive: time.Minute})
	})
	together(t, clients, func(ctx context.Context, i int, c *client.Client) error {
		return c.Publish(ctx, client.Named(fmt.Sprint("crowd/", i)), []byte("here"), mqttsn.QoS1, false)
	})
	seen := make(map[string]bool)
	for len(seen) < crowd {
		m, ok := observer.next(patience)
		if !ok || m.payload != "here" {
			t.Fatalf("%d messages came, then %+v", len(seen), m)
		}
		seen[m.topic] = true
	}
	for i, c := range clients {
		if c.State() != client.Active {
			t.Errorf("client %d is %v", i, c.State())
		}
	}
}

// together has all clients do something at the same time.
func together(t *testing.T, clients []*client.Client, do func(context.Context, int, *client.Client) error) {
	t.Helper()
	start := make(chan struct{})
	failures := make(chan error, len(clients))
	var group sync.WaitGroup
	for i, c := range clients {
		group.Go(func() {
			<-start
			if err := do(t.Context(), i, c); err != nil {
				failures <- fmt.Errorf("client %d: %w", i, err)
			}
		})
	}
	close(start)
	group.Wait()
	close(failures)
	if n := len(failures); n > 0 {
		t.Fatalf("%d of %d clients failed, the first: %v", n, len(clients), <-failures)
	}
}

// A connected client that does nothing costs at most 2 KiB of the gateway's memory, with
// the embedded broker's part of it.
func TestMemoryOfIdleClients(t *testing.T) {
	const clients, most = 10_000, 2048
	g := startGateway(t, newPlan(), "", nil)
	before := residentBytes(t, g)
	for i := range clients {
		conn, err := net.Dial("udp", g.udp)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		id := fmt.Sprint("idle-", i)
		packet := append([]byte{byte(6 + len(id)), 0x04, 0x04, 0x01, 0x0E, 0x10}, id...)
		answer := make([]byte, 16)
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if n, err := conn.Read(answer); err != nil || string(answer[:n]) != "\x03\x05\x00" {
			t.Fatalf("CONNECT of client %d: % x, %v", i, answer[:n], err)
		}
	}
	each := 0
	eventually(t, fmt.Sprintf("a client costs at most %d octets", most), func() bool {
		each = (residentBytes(t, g) - before) / clients
		return each <= most
	})
	t.Logf("%d idle clients cost %d octets each", clients, each)
}

// residentBytes is the memory that the gateway process occupies.
func residentBytes(t *testing.T, g *gateway) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmRSS in /proc/*/status")
	return 0
}
