package conformance

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/gateway/store"
)

// settings are what a broker has other than by default, for each kind of broker. Without
// an equivalent in mosquitto.conf(5) the statement stands in testdata/mosquitto.csv.
type settings struct {
	embedded  func(o *embedded.Options)
	mosquitto string // lines of its configuration
}

// starter starts a broker that runs until the test ends, and returns its address.
type starter func(t testing.TB, s settings) string

func startEmbedded(t testing.TB, s settings) string { return startWith(t, s, nil) }

// startDurable starts an embedded broker with a store in which something becomes durable
// only now and then, so that clients have to wait for what they are told.
func startDurable(t testing.TB, s settings) string {
	st := store.NewMemory()
	st.Hold()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				st.Commit()
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
	})
	return startWith(t, s, st)
}

func startWith(t testing.TB, s settings, st store.Store) string {
	o := embedded.DefaultOptions()
	o.SessionExpiryMax = 0 // what a client asks for is what it gets
	l := embedded.DefaultListenerOptions()
	l.Listen = "127.0.0.1:0"
	o.Listeners = []embedded.ListenerOptions{l}
	if s.embedded != nil {
		s.embedded(&o)
	}
	b, err := embedded.New(o, st, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Serve(ctx, func() { close(ready) }); err != nil {
			t.Errorf("the broker: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return b.Addrs()[0].String()
}

func startMosquitto(t testing.TB, s settings) string {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	for range 5 {
		port := freePort(t)
		text := fmt.Sprintf("user %s\nlistener %s 127.0.0.1\nallow_anonymous true\nlog_dest none\nset_tcp_nodelay true\n%s\n",
			me.Username, port, s.mosquitto)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("mosquitto", "-c", config)
		if err := cmd.Start(); err != nil {
			t.Fatalf("%v: test/run installs it", err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait()
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGKILL)
			<-ended
		})
		if addr := "127.0.0.1:" + port; listens(addr, ended) {
			return addr
		}
	}
	t.Fatalf("mosquitto does not start with\n%s", s.mosquitto)
	return ""
}

// listens waits until somebody listens at the address; false if the program ends first,
// perhaps because another one was there before it.
func listens(addr string, ended <-chan struct{}) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return false
		case <-tick.C:
		}
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			select {
			case <-ended:
				return false
			default:
				return true
			}
		}
	}
}

func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	return port
}
