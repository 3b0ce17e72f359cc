package serial

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mqttsn-gateway/transports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadline bounds every wait of these tests; nothing waits that long unless it fails.
const deadline = 30 * time.Second

var discard = slog.New(slog.DiscardHandler)

func optionsFor(device, framing string) Options {
	o := DefaultOptions()
	o.Device = device
	o.Framing = framing
	return o
}

func openLink(t testing.TB, o Options) *Link {
	t.Helper()
	l, err := Open(o, discard, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// serve runs Serve until the end of the test, or until stop is called.
func serve(t testing.TB, l *Link, recv func([]transports.Datagram)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Serve(ctx, recv) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := wait(t, done); err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// collect serves l and passes on copies of what arrives.
func collect(t testing.TB, l *Link) (<-chan transports.Datagram, func()) {
	t.Helper()
	got := make(chan transports.Datagram, 1<<16)
	stop := serve(t, l, func(batch []transports.Datagram) {
		for _, d := range batch {
			d.Data = bytes.Clone(d.Data)
			got <- d
		}
	})
	return got, stop
}

func wait[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(deadline):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// publish is an MQTT-SN PUBLISH of size octets with a number, at least 11.
func publish(number uint32, size int) []byte {
	b := make([]byte, size)
	copy(b, []byte{byte(size), 0x0C, 0x00, 0x00, 0x01, 0x00, 0x00})
	binary.BigEndian.PutUint32(b[7:], number)
	for i := 11; i < size; i++ {
		b[i] = byte(int(number) + i)
	}
	return b
}

func numberOf(packet []byte) uint32 { return binary.BigEndian.Uint32(packet[7:]) }

func send(t testing.TB, l *Link, to transports.Addr, data []byte) {
	t.Helper()
	if sent, err := l.Send([]transports.Datagram{{Addr: to, Data: data}}); sent != 1 || err != nil {
		t.Fatalf("Send took %d: %v", sent, err)
	}
}
