package client

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"mqttsn-gateway/mqttsn"
)

// Conn is a connection that keeps datagrams apart: one Read is one datagram received,
// one Write one sent. A *net.UDPConn from net.Dial is one.
type Conn = io.ReadWriteCloser

// State is where a client stands with the gateway, in the words of clause 6.14.
type State int

// The states of a Client, as far as the client itself can tell.
const (
	Disconnected State = iota
	Active
	Asleep
	Awake
)

// String is the word that the specification uses.
func (s State) String() string {
	return [...]string{"disconnected", "active", "asleep", "awake"}[s]
}

// Message is an application message from the gateway.
type Message struct {
	// Topic is the topic name; empty for a pre-defined topic id without a known name.
	Topic       string
	TopicIDType mqttsn.TopicIDType
	TopicID     uint16
	QoS         mqttsn.QoS
	Retain      bool
	DUP         bool
	Payload     []byte
}

// Client is one MQTT-SN client. Its methods may be called from any goroutine.
type Client struct {
	conn Conn
	o    Options

	messages chan Message
	done     chan struct{} // closed when the reader has ended

	// What clients may have open only one of, or Inflight: tokens.
	control, registering, subscribing, publishing chan struct{}

	dropped atomic.Uint64
	held    atomic.Bool

	mu        sync.Mutex
	state     State
	err       error // why the reader has ended
	topics    topicTable
	msgID     uint16
	exchanges map[uint16]*exchange // by MsgId
	asking    *exchange            // of the packets without a MsgId
	free      []*exchange
	received  onceTable // QoS 2 messages handed out
	holdUntil time.Time // no PUBLISH before: congestion
	asleepAt  time.Time // when the gateway answered the DISCONNECT of Sleep

	keepAlive time.Duration
	pings     int // PINGREQs of the keep alive without an answer
	ping      *time.Timer

	write  sync.Mutex
	buffer []byte
}

// Dial opens a UDP socket to a gateway and makes a Client of it. Nothing is sent.
func Dial(ctx context.Context, address string, o Options) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	return New(conn, o), nil
}

// New makes a Client of a connection, which it then owns. Nothing is sent.
func New(conn Conn, o Options) *Client {
	o.setDefaults()
	c := &Client{
		conn:        conn,
		o:           o,
		done:        make(chan struct{}),
		control:     make(chan struct{}, 1),
		registering: make(chan struct{}, 1),
		subscribing: make(chan struct{}, 1),
		publishing:  make(chan struct{}, o.Inflight),
		exchanges:   make(map[uint16]*exchange),
		received:    newOnceTable(o.Tretry),
	}
	if o.OnMessage == nil {
		c.messages = make(chan Message, o.Buffer)
	}
	c.topics.clear()
	c.ping = time.AfterFunc(time.Hour, c.keepAlivePing)
	c.ping.Stop()
	go c.read()
	return c
}

// Messages is where messages arrive, unless OnMessage takes them. It is closed when the
// client is.
func (c *Client) Messages() <-chan Message { return c.messages }

// Hold makes the client leave messages to the gateway, or take them again. One that is
// left is not acknowledged; with QoS 0 it is lost.
func (c *Client) Hold(on bool) { c.held.Store(on) }

// Dropped is how many QoS 0 messages were lost for one of the reasons of ErrDropped.
func (c *Client) Dropped() uint64 { return c.dropped.Load() }

// State is the client's state.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Close closes the network connection without a word to the gateway, ends all calls
// with ErrClosed and waits for the reader. It must not be called from a callback.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	err := c.conn.Close()
	<-c.done
	c.ping.Stop()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// maxReadFailures is how often reading may fail in a row before the network connection
// is held to be gone.
const maxReadFailures = 100

// read is the reader goroutine.
func (c *Client) read() {
	defer close(c.done)
	if c.messages != nil {
		defer close(c.messages)
	}
	var d mqttsn.Decoder
	b := make([]byte, c.o.MaxPacket)
	for failures := 0; ; {
		n, err := c.conn.Read(b)
		if err != nil {
			// That nobody listens there now, as a UDP socket may say, is a lost
			// datagram like any other.
			failures++
			if failures > maxReadFailures || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
				c.lose(err, true)
				return
			}
			c.report(err)
			continue
		}
		failures = 0
		if c.o.Trace != nil {
			c.o.Trace(false, b[:n])
		}
		p, err := d.Decode(b[:n])
		if err != nil {
			c.report(err)
			continue
		}
		c.receive(p)
	}
}

// send encodes and writes one packet. A refusal by the other host counts as loss.
func send[P mqttsn.Packet](c *Client, p P) error {
	c.write.Lock()
	defer c.write.Unlock()
	c.buffer = p.Append(c.buffer[:0])
	if len(c.buffer) == 0 {
		return ErrTooLarge
	}
	if c.o.Trace != nil {
		c.o.Trace(true, c.buffer)
	}
	_, err := c.conn.Write(c.buffer)
	if errors.Is(err, syscall.ECONNREFUSED) {
		c.report(err)
		return nil
	}
	return err
}

// respond sends what the gateway waits for. If that fails, the gateway asks again.
func respond[P mqttsn.Packet](c *Client, p P) {
	if err := send(c, p); err != nil {
		c.report(err)
	}
}

// report tells OnError.
func (c *Client) report(err error) {
	if c.o.OnError != nil {
		c.o.OnError(err)
	}
}

// lose ends the connection to the gateway for a reason that the caller did not ask for.
// If the network connection is gone too, nothing works from now on.
func (c *Client) lose(err error, forGood bool) {
	c.mu.Lock()
	tell := c.err == nil && (c.state != Disconnected || forGood)
	if forGood && c.err == nil {
		c.err = err
	}
	c.endLocked(err)
	c.mu.Unlock()
	if tell && c.o.OnLost != nil {
		c.o.OnLost(err)
	}
}

// fail makes all calls fail from now on.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.endLocked(err)
}

// endLocked ends everything that waits for the gateway.
func (c *Client) endLocked(err error) {
	c.state = Disconnected
	c.ping.Stop()
	for _, x := range c.exchanges {
		x.post(answer{err: err})
	}
	if c.asking != nil {
		c.asking.post(answer{err: err})
	}
}
