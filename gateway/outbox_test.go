package gateway

import (
	"bytes"
	"context"
	"testing"

	"mqttsn-gateway/transports"
)

// fakeLink takes at most room datagrams per batch.
type fakeLink struct {
	room int
	sent [][]byte
}

func (l *fakeLink) Name() string { return "fake" }
func (l *fakeLink) MTU() int     { return 1400 }
func (l *fakeLink) Close() error { return nil }

func (l *fakeLink) Serve(ctx context.Context, _ func([]transports.Datagram)) error {
	<-ctx.Done()
	return nil
}

func (l *fakeLink) Send(batch []transports.Datagram) (int, error) {
	n := min(len(batch), l.room)
	for _, d := range batch[:n] {
		l.sent = append(l.sent, bytes.Clone(d.Data))
	}
	if n < len(batch) {
		return n, transports.ErrBusy
	}
	return n, nil
}

func TestOutboxKeepsOrderAcrossFlushes(t *testing.T) {
	link := &fakeLink{room: 1 << 30}
	o := newOutbox([]transports.Link{link}, func(transports.Datagram) { t.Error("a datagram was lost") })
	big := bytes.Repeat([]byte{1}, 65507)
	var want [][]byte
	for i := range 10 { // several times what the outbox holds
		data := append([]byte{byte(i)}, big[:len(big)-1]...)
		want = append(want, data)
		o.put(&transports.Peer{}, transports.Addr{}, data)
	}
	o.flush()
	if len(link.sent) != len(want) {
		t.Fatalf("%d datagrams left, want %d", len(link.sent), len(want))
	}
	for i := range want {
		if !bytes.Equal(link.sent[i], want[i]) {
			t.Fatalf("datagram %d has changed or moved", i)
		}
	}
}

func TestOutboxCountsWhatALinkDoesNotTake(t *testing.T) {
	lost := 0
	o := newOutbox([]transports.Link{&fakeLink{room: 3}}, func(transports.Datagram) { lost++ })
	for range 5 {
		o.put(&transports.Peer{}, transports.Addr{}, []byte{2, 0x17})
	}
	o.flush()
	if lost != 2 {
		t.Errorf("%d datagrams counted as lost, want 2", lost)
	}
}
