package websocket

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to happen.
const patience = 20 * time.Second

// serve is a server whose every connection goes to the channel.
func serve(t *testing.T, origins ...string) (address string, conns chan net.Conn) {
	t.Helper()
	conns = make(chan net.Conn, 10)
	return listen(t, origins, func(c *Conn, err error) {
		if err != nil {
			_ = c.Close()
			return
		}
		conns <- c
	}), conns
}

// listen hands what comes of each handshake to done.
func listen(t *testing.T, origins Origins, done func(*Conn, error)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			below, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				_ = below.SetDeadline(time.Now().Add(patience))
				c := Server(below, origins, false)
				done(c, c.Handshake())
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return l.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// pair is both ends of a connection.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	address, conns := serve(t)
	client, err := Client(t.Context(), dial(t, address), address, "/mqtt")
	if err != nil {
		t.Fatal(err)
	}
	server = <-conns
	t.Cleanup(func() { _ = server.Close() })
	_ = server.SetDeadline(time.Now().Add(patience))
	return client, server
}

func TestStream(t *testing.T) {
	client, server := pair(t)
	for _, ends := range [][2]net.Conn{{client, server}, {server, client}} {
		from, to := ends[0], ends[1]
		for _, size := range []int{1, 125, 126, 65535, 65536, 1 << 20} {
			sent := make([]byte, size)
			_, _ = rand.Read(sent)
			done := make(chan error, 1)
			go func() { _, err := from.Write(sent); done <- err }()
			got := make([]byte, size)
			if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%d octets: %v, equal %v", size, err, bytes.Equal(got, sent))
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// counting counts writes.
type counting struct {
	net.Conn
	writes atomic.Int32
}

func (c *counting) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// A message is one write, however long it is, and pings are answered in between.
func TestMessagesAreWrittenInOnePiece(t *testing.T) {
	address, conns := serve(t)
	below := &counting{Conn: dial(t, address)}
	client, err := Client(t.Context(), below, address, "/mqtt")
	if err != nil {
		t.Fatal(err)
	}
	server := <-conns
	defer server.Close()
	_ = server.SetDeadline(time.Now().Add(patience))
	var ended sync.WaitGroup
	defer ended.Wait()
	defer client.Close()
	ended.Go(func() { _, _ = io.Copy(io.Discard, client) }) // answers pings
	for _, size := range []int{1, 2048, 2049, 4090, 4096, 5000, 65536, 300000} {
		before := below.writes.Load()
		done := make(chan error, 1)
		go func() { _, err := client.Write(bytes.Repeat([]byte{7}, size)); done <- err }()
		got := make([]byte, size)
		if _, err := io.ReadFull(server, got); err != nil || bytes.Count(got, []byte{7}) != size {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if n := below.writes.Load() - before; n != 1 {
			t.Errorf("%d octets: %d writes", size, n)
		}
		if _, err := server.(*Conn).Conn.Write([]byte{0x89, 0}); err != nil { // a ping
			t.Fatal(err)
		}
		deadline := time.Now().Add(patience)
		for below.writes.Load() != before+2 {
			if time.Now().After(deadline) {
				t.Fatal("the ping is not answered")
			}
			runtime.Gosched()
		}
	}
}

// Close neither waits for the other side nor for whoever reads or writes.
func TestCloseDoesNotWait(t *testing.T) {
	client, _ := pair(t)
	ended := make(chan error, 2)
	go func() { _, err := client.Read(make([]byte, 1)); ended <- err }()
	go func() { // nobody reads it
		for {
			if _, err := client.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return
			}
		}
	}()
	begin := time.Now()
	_ = client.Close()
	for range 2 {
		select {
		case err := <-ended:
			if err == nil {
				t.Error("no error after Close")
			}
		case <-time.After(patience):
			t.Fatal("Close ends nothing")
		}
	}
	if took := time.Since(begin); took > 4*time.Second { // a close handshake is given 5 s
		t.Errorf("it took %v", took)
	}
}

func TestDeadline(t *testing.T) {
	client, server := pair(t)
	_ = client.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := client.Read(make([]byte, 1))
	if timeout := net.Error(nil); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("%v", err)
	}
	_ = server.SetWriteDeadline(time.Now().Add(-time.Second))
	if _, err := server.Write([]byte("x")); err == nil {
		t.Fatal("written after the deadline")
	}
}

// raw does a client's handshake by hand, and gives what comes after it.
func raw(t *testing.T, address string, headers ...string) (peer net.Conn, r *bufio.Reader, status int, accept string) {
	t.Helper()
	peer = dial(t, address)
	lines := append([]string{
		"GET /mqtt HTTP/1.1", "Host: " + address, "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}, headers...)
	_, _ = io.WriteString(peer, strings.Join(lines, "\r\n")+"\r\n\r\n")
	r = bufio.NewReader(peer)
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return peer, r, answer.StatusCode, answer.Header.Get("Sec-WebSocket-Accept")
}

// The frames of RFC 6455, octet by octet: 5.7 has some of them.
func TestFrames(t *testing.T) {
	for name, c := range map[string]struct {
		frames string
		want   string // what is read
		answer string
		failed bool
	}{
		"a masked message":               {frames: "\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", want: "Hello"},
		"two fragments":                  {frames: "\x02\x83\x00\x00\x00\x00Hel\x80\x82\x00\x00\x00\x00lo", want: "Hello"},
		"a ping between two fragments":   {frames: "\x02\x83\x00\x00\x00\x00Hel\x89\x81\x00\x00\x00\x00?\x80\x82\x00\x00\x00\x00lo", want: "Hello", answer: "\x8a\x01?"},
		"an empty message between":       {frames: "\x82\x81\x00\x00\x00\x00a\x82\x80\x00\x00\x00\x00\x82\x81\x00\x00\x00\x00b", want: "ab"},
		"a pong that nobody asked for":   {frames: "\x8a\x81\x00\x00\x00\x00?\x82\x81\x00\x00\x00\x00a", want: "a"},
		"a close":                        {frames: "\x88\x82\x00\x00\x00\x00\x03\xe8", answer: "\x88\x02\x03\xe8"},
		"a close for another reason":     {frames: "\x88\x82\x00\x00\x00\x00\x03\xea", answer: "\x88\x02\x03\xea", failed: true},
		"no mask":                        {frames: "\x82\x05Hello", failed: true},
		"text":                           {frames: "\x81\x81\x00\x00\x00\x00a", failed: true},
		"reserved bits":                  {frames: "\xc2\x81\x00\x00\x00\x00a", failed: true},
		"an unknown opcode":              {frames: "\x83\x81\x00\x00\x00\x00a", failed: true},
		"a continuation of nothing":      {frames: "\x80\x81\x00\x00\x00\x00a", failed: true},
		"a ping of more than 125 octets": {frames: "\x89\xfe\x00\x7e\x00\x00\x00\x00" + strings.Repeat("x", 126), failed: true},
		"a ping in fragments":            {frames: "\x09\x81\x00\x00\x00\x00?", failed: true},
		"a length of 2^63 and more":      {frames: "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00a", failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			address, conns := serve(t)
			peer, r, status, accept := raw(t, address, "Sec-WebSocket-Protocol: mqtt")
			if status != 101 || accept != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
				t.Fatalf("%d %q", status, accept)
			}
			server := <-conns
			defer server.Close()
			_ = server.SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(peer, c.frames)
			if len(c.want) > 0 {
				got := make([]byte, len(c.want))
				if _, err := io.ReadFull(server, got); err != nil || string(got) != c.want {
					t.Fatalf("%q %v", got, err)
				}
			} else if n, err := server.Read(make([]byte, 9)); n != 0 || errors.Is(err, io.EOF) == c.failed {
				t.Fatalf("%d %v", n, err)
			}
			got := make([]byte, len(c.answer))
			if _, err := io.ReadFull(r, got); err != nil || string(got) != c.answer {
				t.Fatalf("answered %x %v", got, err)
			}
		})
	}
}

func TestHandshakes(t *testing.T) {
	const mqtt = "Sec-WebSocket-Protocol: mqtt"
	for name, c := range map[string]struct {
		headers []string
		status  int
		err     error
	}{
		"no subprotocol":      {nil, 400, ErrNoMQTT},
		"another subprotocol": {[]string{"Sec-WebSocket-Protocol: stomp"}, 400, ErrNoMQTT},
		"one of several":      {[]string{"Sec-WebSocket-Protocol: stomp, mqtt"}, 101, nil},
		"one of two lines":    {[]string{"Sec-WebSocket-Protocol: stomp", mqtt}, 101, nil},
		"an older name":       {[]string{"Sec-WebSocket-Protocol: mqttv3.1"}, 101, nil},
		"another site":        {[]string{mqtt, "Origin: https://elsewhere.example"}, 403, ErrOrigin},
		"a site that may":     {[]string{mqtt, "Origin: https://here.example"}, 101, nil},
		"two keys":            {[]string{mqtt, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, 400, ErrNoWebSocket},
		"compression":         {[]string{mqtt, "Sec-WebSocket-Extensions: permessage-deflate"}, 101, nil},
		"a long header":       {[]string{mqtt, "X: " + strings.Repeat("x", maxRequest)}, 431, ErrNoWebSocket},
		"many headers":        {[]string{mqtt, strings.Repeat("X: y\r\n", maxRequest/6)}, 431, ErrNoWebSocket},
	} {
		t.Run(name, func(t *testing.T) {
			result := make(chan error, 1)
			address := listen(t, Origins{"here.example"}, func(c *Conn, err error) {
				result <- err
				_ = c.CloseWrite()
				_, _ = io.Copy(io.Discard, c.Conn) // or what was sent last may be lost
				_ = c.Close()
			})
			peer, _, status, _ := raw(t, address, c.headers...)
			_ = peer.Close()
			if err := <-result; status != c.status || !errors.Is(err, c.err) {
				t.Fatalf("%d %v", status, err)
			}
		})
	}
}

// A server that is none, or does as it likes.
func TestClientRefuses(t *testing.T) {
	for name, c := range map[string]struct{ answer, says string }{
		"no WebSocket":       {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404 Not Found"},
		"a redirection":      {"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\nContent-Length: 0\r\n\r\n", "302 Found"},
		"a wrong accept":     {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n", "Sec-WebSocket-Accept"},
		"an endless header":  {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxHeader+9) + "\r\n\r\n", "header"},
		"something else":     {"\x20\x02\x00\x01", "malformed"},
		"nothing, and close": {"", "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			done := make(chan struct{})
			go func() {
				defer close(done)
				peer, err := l.Accept()
				if err != nil {
					return
				}
				defer peer.Close()
				if _, err := http.ReadRequest(bufio.NewReader(peer)); err == nil {
					_, _ = io.WriteString(peer, c.answer)
				}
			}()
			_, err = Client(t.Context(), dial(t, l.Addr().String()), "broker.example", "/mqtt")
			<-done
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v", err)
			}
		})
	}
}

func TestClientAsksFor(t *testing.T) {
	asked := make(chan *http.Request, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		if c, err := websocket.Accept(w, r, nil); err == nil { // without the subprotocol
			_ = c.CloseNow()
		}
	}))
	defer s.Close()
	_, err := Client(t.Context(), dial(t, s.Listener.Addr().String()), "broker.example:8080", "/a/b?c=d")
	if !errors.Is(err, errNoProtocol) {
		t.Error(err)
	}
	r := <-asked
	if r.Host != "broker.example:8080" || r.URL.String() != "/a/b?c=d" || r.Header.Get("Sec-WebSocket-Protocol") != "mqtt" {
		t.Errorf("%v %v %v", r.Host, r.URL, r.Header)
	}
}

// A server that does not answer is not waited for longer than the context lasts.
func TestClientTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Client(ctx, dial(t, l.Addr().String()), "h", "/"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}
