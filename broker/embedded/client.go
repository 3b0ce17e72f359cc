package embedded

import (
	"container/list"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/broker/websocket"
)

// lingerTime is how long a connection that the broker ends may take to be sent its last
// octets, and then to be closed by the client.
const lingerTime = time.Second

// lingerBytes is how many octets are read meanwhile at most: a client that has sent too
// much should still learn that it has.
const lingerBytes = 16 << 20

// client is the connection of one MQTT client. One goroutine reads it and handles what
// comes; others only add to its output.
type client struct {
	broker *Broker
	socket net.Conn // of the system; what is said of the connection is said of it
	conn   net.Conn // what MQTT is spoken on: the socket, or TLS or WebSocket over it
	out    output
	over   atomic.Bool   // the connection is ending: nothing from the client counts any more
	ended  chan struct{} // closed when the broker ends the connection; nil without max_packet_rate

	ending  atomic.Pointer[ending] // set before over
	takenBy string                 // where the client has connected again; under the session's lock

	listener *listener

	// Of clients, under its lock.
	stage   stage
	waiting *list.Element // among the pending ones

	// Of incoming, under its lock.
	begun    *list.Element // nil: no large packet is coming
	incoming int
	late     atomic.Bool // the packet is given up

	// Set before the client is attached, and fixed from then on.
	version    mqtt.Version
	session    *session
	badge      *badge        // nil: nobody asks
	maxPacket  int           // the largest that the client takes; 0: any
	keepAlive  time.Duration // after which a silent client is lost, 0: never
	connack    *mqtt.Connack // until it is sent
	maxAlias   uint16        // the highest topic alias to be sent
	unreasoned bool          // the client wants no reason strings

	aliasesOut aliasesOut // under the session's lock

	// For the reader alone.
	reader  *mqtt.Reader
	decoder *mqtt.Decoder // while there is something to decode
	due     time.Time     // when the client is lost if it stays silent; zero: never
	refused bool          // by CONNACK
	left    bool          // it has disconnected as it should: no will
	gone    bool          // nothing can be sent to it any more, or need be
	lasting bool          // its CONNECT said that the session outlives the connection
	intake  intake        // what was not counted yet
	tally   tally         // and of what was sent
	batches byte          // full ones that were handled
	paced   int           // packets that the bucket does not know of yet
	bucket  bucket        // of max_packet_rate

	aliasesIn aliasesIn
	arrived   idSet // QoS 2 messages that came on this connection and are not released
	arriving  int   // how many these are
}

// maxConnect is the largest CONNECT in octets: nobody who has not been let in makes us
// hold more.
const maxConnect = 128 << 10

// maxBatch is after how many packets the others get their turn, however much has come.
const maxBatch = 64

// maxBatches is after how many such batches other clients are read first: where a hundred
// send without end, one that sends little would else wait for a second, and so for some 10
// milliseconds. To yield more often makes the batches of others small: after each fourth one
// costs messages to devices 15 % more.
const maxBatches = 16

// errSilent is what reading fails with when the client has been silent for too long.
var errSilent error = silentError{}

// silentError is, for TLS, one after which reading may go on.
type silentError struct{}

func (silentError) Error() string   { return "embedded: nothing came from the client in time" }
func (silentError) Timeout() bool   { return true }
func (silentError) Temporary() bool { return true }

// run serves the connection until it has ended.
func (c *client) run() {
	b := c.broker
	c.reader = mqtt.NewReader(c, min(b.options.MaxPacketSize, maxConnect))
	c.reader.Only = mqtt.TypeConnect
	c.reader.Held = c.hold
	c.expectBy(time.Now().Add(b.options.ConnectTimeout))
	if c.handshake() && c.connect() {
		c.reader.Max, c.reader.Only = b.options.MaxPacketSize, 0
		c.converse()
	}
	if c.session != nil {
		b.detach(c.session, c, !c.left)
		c.dropAliases()
	}
	c.reader = nil // with its buffer, before the client is waited for
	c.hold(0)
	c.count()
	b.settle()
	c.departed()
	if !c.gone {
		// TLS or WebSocket may be of no use any more, though not for sending.
		if err := c.linger(c.conn); err != nil && c.conn != c.socket && !errors.Is(err, io.EOF) {
			_ = c.linger(c.socket)
		}
	}
	c.out.abort()
	c.socket.Close()
	b.clients.remove(c)
}

// converse handles packet after packet.
func (c *client) converse() {
	for !c.over.Load() {
		h, body, err := c.reader.Next()
		if c.late.Load() {
			return
		}
		if err != nil {
			c.broken(err)
			return
		}
		if c.over.Load() {
			return
		}
		c.intake.packets++
		if isPaced(h.Type) {
			c.paced++
		}
		c.handle(h, body)
		switch {
		case !c.reader.Buffered():
			c.endBatch()
		case c.intake.packets >= maxBatch:
			c.endBatch()
			if c.batches++; c.batches%maxBatches == 0 {
				runtime.Gosched() // else it goes on for the 10 ms that a goroutine is given
			}
		}
	}
}

// decoders are lent to clients while they have something to say.
var decoders = sync.Pool{New: func() any { return &mqtt.Decoder{From: mqtt.FromClient} }}

// fewFilters is how many filters a packet may have however few max_subscriptions allows.
const fewFilters = 1000

func (c *client) decode(h mqtt.Header, body []byte, v mqtt.Version) (mqtt.Packet, error) {
	if c.decoder == nil {
		c.decoder = decoders.Get().(*mqtt.Decoder)
		c.decoder.MaxFilters = max(c.broker.options.MaxSubscriptions, fewFilters)
	}
	return c.decoder.Decode(h, body, v)
}

// endBatch is called when all that has come so far is handled.
func (c *client) endBatch() {
	if c.decoder != nil {
		decoders.Put(c.decoder)
		c.decoder = nil
	}
	c.count()
	c.broker.settle()
	if c.over.Load() {
		return // or a client that has left would stay connected while others have to wait
	}
	if drained := c.out.congested(c.broker.options.MaxQueuedBytes); drained != nil {
		c.wait(drained, codeKeepAliveTimeout)
	}
	if fewer := c.out.crowded(); fewer != nil {
		c.wait(fewer, broker.CodeServerBusy)
	}
	c.keepPace()
	if c.keepAlive > 0 {
		c.due = time.Now().Add(c.keepAlive)
	}
}

// count adds what has gathered to the counters.
func (c *client) count() {
	c.broker.stats.addIntake(&c.intake)
	c.broker.stats.add(&c.tally)
}

// wait stops reading from a client that does not read our answers, or to whom they may not
// be sent yet, or they would pile up without end. After its keep alive it is lost, with that
// code: it has not had an answer to its PINGREQ, either.
func (c *client) wait(drained <-chan struct{}, code broker.Code) {
	var lost <-chan time.Time
	if c.keepAlive > 0 {
		timer := time.NewTimer(c.keepAlive)
		defer timer.Stop()
		lost = timer.C
	}
	select {
	case <-drained:
	case <-lost:
		c.end(code)
	}
}

// broken ends the connection after an error of reading.
func (c *client) broken(err error) {
	var bad *mqtt.Error
	switch {
	case errors.As(err, &bad):
		c.fail(broker.Code(bad.Code), bad.Packet.String()+" "+bad.Field, bad.Reason)
	case errors.Is(err, websocket.ErrText):
		c.ends(codeProtocolError, "a WebSocket message of text")
		c.gone = true
	case errors.Is(err, errSilent):
		c.fail(codeKeepAliveTimeout, "keep alive", "exceeded")
	default:
		c.gone = true
	}
}

// fail ends the connection because of what the client has done.
func (c *client) fail(code broker.Code, what, reason string) {
	c.endFor(code, what+" "+reason)
}

// end says that the connection is over: line.
func (c *client) end(code broker.Code) {
	c.endFor(code, reasonString(mqtt.TypeDisconnect, code))
}

// endFor is end with a reason string.
func (c *client) endFor(code broker.Code, why string) {
	if c.ends(code, why) {
		if c.ended != nil {
			close(c.ended)
		}
		c.out.close(code, why)
	}
}

// lost reports whether nothing can be sent any more: line.
func (c *client) lost() bool { return c.over.Load() || c.out.lost() }

// endStream is called when all that the client is to get was written.
func (c *client) endStream() {
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = c.socket.SetReadDeadline(time.Now().Add(lingerTime))
		return
	}
	c.socket.Close()
}

// linger waits for the client to close the connection, after it was told why it should:
// closing it while octets of the client are unread would make the system drop what was
// sent last.
func (c *client) linger(conn net.Conn) error {
	_ = c.socket.SetReadDeadline(time.Now().Add(2 * lingerTime))
	var b [2048]byte
	for read := 0; read < lingerBytes; {
		n, err := conn.Read(b[:])
		if err != nil {
			return err
		}
		read += n
	}
	return nil
}

// expectBy sets the instant at which the client is lost if nothing has come.
func (c *client) expectBy(due time.Time) {
	c.due = due
	_ = c.socket.SetReadDeadline(due)
	if c.over.Load() {
		// The connection was ended meanwhile, and with a deadline that must hold.
		_ = c.socket.SetReadDeadline(time.Now().Add(lingerTime))
	}
}

// Read reads octets for the Reader: io.Reader.
func (c *client) Read(b []byte) (n int, err error) {
	if c.conn == c.socket {
		n, err = c.read(b)
	} else {
		n, err = c.conn.Read(b)
	}
	c.intake.octets += n
	return n, err
}

// read reads from the socket. The deadline is moved only when it has come and something was
// read since it was set.
func (c *client) read(b []byte) (int, error) {
	for {
		n, err := c.socket.Read(b)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || c.over.Load() {
			return n, err
		}
		if !time.Now().Before(c.due) {
			return 0, errSilent
		}
		c.expectBy(c.due)
	}
}
