package mqtt

import (
	"bytes"
	"io"
	"net"
	"testing"
)

// TestWriterNeverWaits fills a connection that nobody reads, until the system takes no
// more, and then reads what it took.
func TestWriterNeverWaits(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()

	w := NewWriter(conn)
	var sent bytes.Buffer
	for chunk := byte(0); ; chunk++ {
		b := bytes.Repeat([]byte{chunk}, 100_000)
		n, err := w.TryWrite(b)
		if err != nil {
			t.Fatal(err)
		}
		sent.Write(b[:n])
		if n < len(b) {
			break
		}
	}
	if n, err := w.TryWrite([]byte{1}); err == nil && n == 1 {
		sent.WriteByte(1) // the system may have found room meanwhile
	} else if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(peer)
	if err != nil || !bytes.Equal(got, sent.Bytes()) {
		t.Errorf("%d octets arrived, want the %d that were taken; %v", len(got), sent.Len(), err)
	}
	if _, err := w.TryWrite([]byte{1}); err == nil {
		t.Error("a closed connection is written to without an error")
	}
}

func TestWriterOfNoSocket(t *testing.T) {
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	if n, err := NewWriter(a).TryWrite([]byte{1}); n != 0 || err != nil {
		t.Errorf("TryWrite: %d, %v; want nothing taken and no error", n, err)
	}
}

func TestTryWriteDoesNotAllocate(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	w, b := NewWriter(conn), []byte{1}
	if n := testing.AllocsPerRun(100, func() { _, _ = w.TryWrite(b) }); n > 0 {
		t.Errorf("TryWrite allocates %v times", n)
	}
}
