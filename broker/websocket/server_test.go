package websocket

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What is no request for WebSocket is answered if it is HTTP at all.
func TestOddRequests(t *testing.T) {
	const head, rest = "GET / HTTP/1.1\r\nHost: x\r\n", "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	for name, c := range map[string]struct {
		request string
		status  int // 0: no answer
	}{
		"a browser's":     {head + "\r\n", 400},
		"without Upgrade": {head + "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" + rest, 400},
		"no connection":   {head + "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" + rest, 426},
		"version 8":       {head + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n" + rest, 400},
		"POST":            {"POST" + head[3:] + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" + rest, 405},
		"HTTP/1.0":        {"GET / HTTP/1.0\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" + rest, 426},
		"MQTT":            {"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00\n", 0},
		"TLS":             {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			result := make(chan error, 1)
			address := listen(t, nil, func(c *Conn, err error) {
				result <- err
				_ = c.Close()
			})
			peer := dial(t, address)
			_, _ = io.WriteString(peer, c.request)
			got, _ := io.ReadAll(peer)
			if err := <-result; !errors.Is(err, ErrNoWebSocket) {
				t.Fatalf("%v", err)
			}
			answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(got)), nil)
			if c.status == 0 {
				if len(got) > 0 {
					t.Fatalf("answered %q", got)
				}
				return
			}
			if err != nil || answer.StatusCode != c.status {
				t.Fatalf("%v: %q", err, got)
			}
			_ = answer.Body.Close()
		})
	}
}

// A request may come octet by octet, and what follows it with it.
func TestRequestInPieces(t *testing.T) {
	address, conns := serve(t)
	peer := dial(t, address)
	_ = peer.(*net.TCPConn).SetNoDelay(true)
	request := "GET /any?path HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	for i := range len(request) - 1 {
		_, _ = io.WriteString(peer, request[i:i+1])
	}
	_, _ = io.WriteString(peer, request[len(request)-1:]+"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58")
	got := make([]byte, 5)
	if _, err := io.ReadFull(<-conns, got); err != nil || string(got) != "Hello" {
		t.Fatalf("%q %v", got, err)
	}
}

// The end of the connection below ends a handshake, whatever it waits for.
func TestDeadlineOfHandshake(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	_ = here.SetDeadline(time.Now().Add(20 * time.Millisecond))
	err := Server(here, nil, false).Handshake()
	if failed := net.Error(nil); !errors.As(err, &failed) || !failed.Timeout() {
		t.Fatalf("%v", err)
	}
	_ = here.Close()
	if err := Server(here, nil, false).Handshake(); !errors.Is(err, io.ErrClosedPipe) || errors.Is(err, ErrNoWebSocket) {
		t.Fatalf("%v", err)
	}
}

func TestBeforeHandshake(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	c := Server(here, nil, false)
	_, err := c.Read(make([]byte, 1))
	_, err2 := c.Write([]byte("x"))
	if err == nil || err2 == nil || c.CloseWrite() == nil {
		t.Error("something is sent or read before the handshake")
	}
	_ = c.Close()
}

// The frames that a server sends.
func TestServerFrames(t *testing.T) {
	address, conns := serve(t)
	_, r, _, _ := raw(t, address, "Sec-WebSocket-Protocol: mqtt")
	server := <-conns
	long := strings.Repeat("x", maxFrame+200)
	for _, text := range []string{"", "a", long[:125], long[:126], long} {
		if n, err := io.WriteString(server, text); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
	}
	_ = server.(*Conn).CloseWrite()
	_ = server.(*Conn).CloseWrite()
	_ = server.Close()
	got, err := io.ReadAll(r)
	want := "\x82\x01a" + "\x82\x7d" + long[:125] + "\x82\x7e\x00\x7e" + long[:126] +
		"\x82\x7e\x3f\xfc" + long[:maxFrame] + "\x82\x7e\x00\xc8" + long[:200] + "\x88\x02\x03\xe8"
	if err != nil || string(got) != want {
		t.Fatalf("%d octets, want %d: %v", len(got), len(want), err)
	}
}

// After the close frame nothing more is sent, and the client's ends the stream.
func TestCloseFrames(t *testing.T) {
	address, conns := serve(t)
	peer, r, _, _ := raw(t, address, "Sec-WebSocket-Protocol: mqtt")
	server := <-conns
	_ = server.(*Conn).CloseWrite()
	_, _ = io.WriteString(peer, "\x89\x81\x00\x00\x00\x00?"+"\x88\x82\x00\x00\x00\x00\x03\xe8")
	if n, err := server.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("%d %v", n, err)
	}
	_ = server.Close()
	if got, _ := io.ReadAll(r); string(got) != "\x88\x02\x03\xe8" {
		t.Fatalf("%q", got)
	}
}

// A client that pings and does not read is still read from.
func TestPingsWhileWriting(t *testing.T) {
	address, conns := serve(t)
	peer, r, _, _ := raw(t, address, "Sec-WebSocket-Protocol: mqtt")
	server := <-conns
	written := make(chan int, 1)
	go func() {
		sum := 0
		_ = server.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		for {
			n, err := server.Write(make([]byte, 1<<20))
			if sum += n; err != nil {
				written <- sum
				return
			}
		}
	}()
	for range 50 {
		_, _ = io.WriteString(peer, "\x89\x81\x00\x00\x00\x00?")
	}
	_, _ = io.WriteString(peer, "\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58")
	got := make([]byte, 5)
	if _, err := io.ReadFull(server, got); err != nil || string(got) != "Hello" {
		t.Fatalf("%q %v", got, err)
	}
	if sum := <-written; sum == 0 {
		t.Error("nothing was written")
	}
	_ = server.Close()
	_, _ = io.Copy(io.Discard, r)
}

// Pings are answered while the server writes and reads at a time, each answer a frame of its own.
func TestPingsAndMessages(t *testing.T) {
	client, server := pair(t)
	go func() { _, _ = io.Copy(io.Discard, server) }()
	go func() {
		for range 200 {
			_, _ = server.Write([]byte("message"))
		}
		_ = server.(*Conn).CloseWrite()
	}()
	go func() {
		for range 200 {
			if client.(*conn).ws.Ping(t.Context()) != nil {
				return
			}
		}
	}()
	got, err := io.ReadAll(client)
	if err != nil || string(got) != strings.Repeat("message", 200) {
		t.Fatalf("%d octets: %v", len(got), err)
	}
}

func TestOrigins(t *testing.T) {
	for _, c := range []struct {
		origins      Origins
		origin, host string
		secure, may  bool
	}{
		{nil, "", "10.0.0.1:9001", false, true},
		{nil, "http://10.0.0.1", "10.0.0.1:9001", false, true},
		{nil, "https://10.0.0.1:8443", "10.0.0.1:9001", false, true},
		{nil, "http://[::1]:3000", "[::1]:9001", false, true},
		{nil, "http://localhost:3000", "LOCALHOST:9001", false, true},
		{nil, "http://localhost:3000", "127.0.0.1:9001", false, false},
		{nil, "http://evil.example", "127.0.0.1:9001", false, false},
		{nil, "http://evil.example:9001", "evil.example:9001", false, false}, // the name may stand for 127.0.0.1 by now
		{nil, "https://here.example", "here.example:9001", true, true},       // and then has no certificate
		{nil, "null", "127.0.0.1:9001", false, false},
		{nil, "null", "", false, false},
		{nil, "file://", "", false, false},
		{nil, "http://%zz", "%zz", false, false},
		{Origins{"*"}, "http://evil.example", "127.0.0.1:9001", false, true},
		{Origins{"*"}, "null", "x", false, true},
		{Origins{"null"}, "null", "x", false, false}, // pages of files have no origin that could be told apart
		{Origins{"https://here.example"}, "https://HERE.example", "x", false, true},
		{Origins{"https://here.example"}, "http://here.example", "x", false, false},
		{Origins{"https://here.example"}, "https://here.example:8443", "x", false, false},
		{Origins{"https://here.example"}, "http://x", "x", true, false}, // nothing but the list
		{Origins{"a.example", "*.here.example:*"}, "https://b.here.example:1", "x", false, true},
		{Origins{"*.here.example"}, "https://evil.example/.here.example", "x", false, false},
		{Origins{"*.here.example"}, "https://here.example", "x", false, false},
		{Origins{"[::1]:3000"}, "http://[::1]:3000", "x", false, true},
	} {
		if err := c.origins.check(c.origin, c.host, c.secure); (err == nil) != c.may {
			t.Errorf("%v: page of %q to %q, TLS %v: %v", c.origins, c.origin, c.host, c.secure, err)
		}
	}
	for pattern, good := range map[string]bool{
		"*": true, "https://a.example": true, "*.example:*": true, "[::1]:80": true,
		"": false, "https://a.example/": false, "[": false,
	} {
		if err := (Origins{"*", pattern}).Validate(); (err == nil) != good {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}

// FuzzServer lets a client say what it likes.
func FuzzServer(f *testing.F) {
	const request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	f.Add([]byte(request+"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), true)
	f.Add([]byte(request+"\x89\x81\x00\x00\x00\x00?\x88\x82\x00\x00\x00\x00\x03\xe8"), false)
	f.Add([]byte("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"), true)
	f.Add([]byte("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00a"), true)
	f.Fuzz(func(t *testing.T, said []byte, ask bool) {
		if !ask {
			said = append([]byte(request), said...)
		}
		c := Server(&script{said: bytes.NewReader(said)}, nil, false)
		if err := c.Handshake(); err != nil {
			return
		}
		n, err := io.Copy(io.Discard, c)
		if n > int64(len(said)) {
			t.Errorf("%d octets read of %d: %v", n, len(said), err)
		}
		_, _ = c.Write([]byte("x"))
		_ = c.CloseWrite()
	})
}

// script is a connection with a client that does not listen.
type script struct {
	net.Conn
	said *bytes.Reader
}

func (s *script) Read(p []byte) (int, error)       { return s.said.Read(p) }
func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) Close() error                     { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
