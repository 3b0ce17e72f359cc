// Package serial is the link to clients on a serial line: one at the other end of a plain
// line, or the nodes of a radio network behind an XBee module.
//
// One goroutine, that of Serve, opens, reads and closes the port and opens it again when
// the device was unplugged (serve.go); another writes what Send has queued at the pace of
// the line (writer.go, pace.go). What is queued for whom is the medium's business (line.go,
// radio.go). Packages framing and xbee know the formats. The port itself is that of
// go.bug.st/serial, guarded against what it cannot do (port.go).
package serial

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/serial/framing"
)

// Link is a serial port. It implements transports.Link, transports.Broadcaster and
// transports.Paced.
//
// The one peer of a plain line has the address transports.NumberAddr(1). An XBee node has
// transports.NodeAddr of the 8 octets of its 64-bit address, or of 2 octets if the module
// tells no more than its 16-bit one.
//
// A link whose device was unplugged stays: Send drops, with transports.ErrBusy and counted
// as line_down, until the device is there again.
type Link struct {
	o       Options
	log     *slog.Logger
	explain func(device string, err error) error
	opener  opener
	framing framing.Framing
	counts  counts
	wake    chan struct{} // there may be something to write

	closed chan struct{} // by Close, or when the context of Serve is done
	once   sync.Once     // of that
	// For Serve alone.
	freed   chan struct{} // closed: the port before is closed; nil: there was none
	idle    bool          // that port failed before it had carried anything
	backoff time.Duration // before the next try to open
	said    string        // the last failure to open that was logged

	mu      sync.Mutex // guards what follows
	medium  medium
	up      bool
	since   time.Time // when up became what it is
	ever    bool      // up was true
	port    port      // open, but not served yet
	serving bool
}

// Open opens the port. If it does not open and Options.Required is false, the link waits
// for the device. explain turns a failure to open, which wraps fs.ErrNotExist,
// fs.ErrPermission or an error of this package, into one that says what to do; it may be
// nil. Errors of Options start with the key.
func Open(o Options, log *slog.Logger, explain func(device string, err error) error) (*Link, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	log = log.With("link", name(o))
	return openWith(o, log, explain, newDevice(o, log))
}

func openWith(o Options, log *slog.Logger, explain func(device string, err error) error, opener opener) (*Link, error) {
	l := &Link{
		o:       o,
		log:     log,
		explain: explain,
		opener:  opener,
		wake:    make(chan struct{}, 1),
		closed:  make(chan struct{}),
		since:   time.Now(),
		backoff: reopenPoll,
	}
	if o.Framing == framingXBee {
		r := newRadio(o, &l.counts, log)
		l.medium, l.framing = r, r.framing
	} else {
		m := newLine(o)
		l.medium, l.framing = m, m.framing
	}
	p, err := opener.open()
	switch {
	case err == nil:
		l.port, l.up, l.ever = p, true, true
	case o.Required:
		opener.end()
		return nil, l.explained(err)
	default:
		l.complain(err)
	}
	return l, nil
}

// complain logs why the port does not open, once for each reason in a row.
func (l *Link) complain(err error) {
	if err = l.explained(err); err.Error() != l.said {
		l.said = err.Error()
		l.log.Warn("the serial port does not open; waiting for it", "error", err)
	}
}

// explained says what to do about a port that does not open.
func (l *Link) explained(err error) error {
	if l.explain != nil {
		if better := l.explain(l.o.Device, err); better != nil {
			return better
		}
	}
	return fmt.Errorf("device: serial port %q does not open: %w", l.o.Device, err)
}

func name(o Options) string { return "serial " + o.Device }

// Name is "serial " and the device as configured, such as "serial /dev/ttyUSB0".
func (l *Link) Name() string { return name(l.o) }

// MTU is max_payload.
func (l *Link) MTU() int { return l.o.payload() }

// User is that of Options.
func (l *Link) User() string { return l.o.User }

// Rate is how many octets per second one peer can be sent. On a plain line that is what
// the line carries. A radio takes one packet at a time, each with more than its own length
// around it, and the network between is slow: half the line's, at most radioRate.
func (l *Link) Rate() int {
	if l.o.Framing == framingXBee {
		return min(l.o.rate()/2, radioRate)
	}
	return l.o.rate()
}

// radioRate is what a ZigBee network can be trusted to carry to one node, well below the
// 250 kbit/s of its radios: each packet is acknowledged twice, and hops take turns.
const radioRate = 3000

// Send queues the batch in order and returns how many datagrams there was room for. One
// that is refused does not keep back those after it; it is counted by its reason, and err
// is that of the first. After Close all are lost, with net.ErrClosed.
func (l *Link) Send(batch []transports.Datagram) (sent int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch {
		to, data := batch[i].Addr, batch[i].Data
		if failure := l.queue(data, func() reason { return l.medium.put(to, data) }); failure == nil {
			sent++
		} else if err == nil {
			err = failure
		}
	}
	return sent, err
}

// Broadcast queues data for everybody: on a plain line the other end, in a ZigBee network
// all nodes within radius hops, 0 meaning all, and with 802.15.4 firmware, which has no
// hops, all nodes. near does not matter, as there is one medium.
func (l *Link) Broadcast(_ transports.Addr, radius uint8, data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue(data, func() reason { return l.medium.broadcast(radius, data) })
}

// queue checks what holds for every medium before put. The lock is held.
func (l *Link) queue(data []byte, put func() reason) error {
	var why reason
	switch {
	case isClosed(l.closed):
		return errClosed
	case len(data) == 0 || len(data) > l.o.payload():
		why = oversize
	case !l.up:
		why = lineDown
	default:
		why = put()
	}
	if why != taken {
		l.counts.dropped[why].Add(1)
		return why.err()
	}
	l.stir()
	return nil
}

// stir makes the writer look for something to write.
func (l *Link) stir() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take is what the writer may write now, and when to look again if it is nothing.
func (l *Link) take(b []byte, budget int) (grown []byte, n int, due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up {
		return b, 0, due
	}
	b, n = l.medium.take(time.Now(), b, budget)
	return b, n, l.medium.due()
}

// Close ends Serve, which then closes the port: the device is free when Serve has
// returned, unless its driver still holds up what is being written, as with a line on
// which the other end takes nothing; then it is free when the driver lets go. A link that
// is not served is closed at once. Close may be called from any goroutine and more than
// once.
func (l *Link) Close() error {
	l.shut()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.serving {
		return nil
	}
	l.serving = true // never again
	return l.free()
}

func (l *Link) shut() { l.once.Do(func() { close(l.closed) }) }

// free closes a port that is not served. The lock is held.
func (l *Link) free() error {
	l.up = false
	l.counts.dropped[lineDown].Add(uint64(l.medium.lose(0)))
	var err error
	if l.port != nil {
		l.port.Discard()
		err = l.port.Close()
		l.port = nil
	}
	l.opener.end()
	return err
}
