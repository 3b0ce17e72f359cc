package serial

import (
	"context"
	"time"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/serial/framing"
)

// Serve hands on what arrives until ctx is done or the link is closed, and returns nil
// then: after at most framing.Gap, and when the octets that the driver held have left. A
// device that is unplugged is waited for.
func (l *Link) Serve(ctx context.Context, recv func(batch []transports.Datagram)) error {
	l.mu.Lock()
	if l.serving {
		l.mu.Unlock()
		if isClosed(l.closed) {
			return nil
		}
		return errServed
	}
	l.serving = true
	p := l.port
	l.port = nil
	l.mu.Unlock()
	stop := context.AfterFunc(ctx, l.shut)
	defer stop()
	defer l.shut()
	defer l.opener.end()
	for {
		if p != nil {
			if err := l.serve(p, recv); err != nil {
				l.log.Warn("the serial port is lost; waiting for it to come back", "error", err)
			}
		}
		if p = l.reopen(); p == nil {
			return nil
		}
	}
}

// serve serves an open port until it is lost, which the error tells, or the link closed.
func (l *Link) serve(p port, recv func(batch []transports.Datagram)) error {
	w := newWriter(l, p)
	go w.run()
	before := l.counts.receivedOctets.Load()
	err := l.read(p, w, recv)
	l.idle = l.counts.receivedOctets.Load() == before && time.Since(w.began) < reopenMax
	l.mu.Lock()
	l.up, l.since = false, time.Now()
	l.mu.Unlock()
	unwritten := l.end(p, w, err)
	l.mu.Lock()
	l.counts.dropped[lineDown].Add(uint64(l.medium.lose(unwritten) + unwritten))
	l.mu.Unlock()
	return err
}

// read hands on what the port receives until the port fails, the writer does, or the link
// is closed, which is no error.
func (l *Link) read(p port, w *writer, recv func(batch []transports.Datagram)) error {
	in := reader{link: l, decoder: l.framing.NewDecoder()}
	buffer := make([]byte, 4096)
	for {
		n, err := p.Read(buffer)
		if isClosed(l.closed) {
			return nil
		}
		if n > 0 || err == nil {
			if batch := in.decode(buffer[:n]); len(batch) > 0 {
				recv(batch)
			}
		}
		switch {
		case err != nil:
			return err
		case isClosed(w.done):
			return w.err
		case w.stuck():
			return errStuck
		}
	}
}

// end closes the port when the writer has ended, and returns how many packets that one
// had taken and not written. A writer that does not end is left alone with the port:
// closing that would not end it, and the next port with this device could not write
// either. reopen waits for it.
func (l *Link) end(p port, w *writer, err error) (unwritten int) {
	close(w.stop)
	l.freed = make(chan struct{})
	if !within(w.done, patience) {
		p.Discard() // may end the Write
		if !within(w.done, patience) {
			go func(freed chan struct{}) {
				<-w.done
				_ = p.Close()
				close(freed)
			}(l.freed)
			return w.give()
		}
	}
	if err == nil { // closed in good order
		within(nil, min(time.Until(w.pace.idle), patience))
	}
	p.Discard()
	_ = p.Close()
	close(l.freed)
	return w.give()
}

// patience is how long the end of a port waits for the writer, and for the line to carry
// what the driver holds.
const patience = 250 * time.Millisecond

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// within waits for done; false if that takes longer.
func within(done <-chan struct{}, longest time.Duration) bool {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// Times of reopen.
const (
	reopenPoll = 250 * time.Millisecond
	reopenMax  = 5 * time.Second
)

// reopen opens the port again, or for the first time; nil when the link is closed. It
// tries at growing distances, and at once when the device appears. One that opens and
// fails before it has carried anything is as good as one that does not open.
func (l *Link) reopen() port {
	if isClosed(l.closed) || l.freed != nil && !l.await(l.freed) {
		return nil
	}
	var next time.Time
	if l.idle {
		next = l.retryAt(time.Now())
	} else {
		l.backoff = reopenPoll
	}
	for present := true; ; {
		was := present
		present = l.opener.present()
		if present && !was {
			next, l.backoff = time.Time{}, reopenPoll
		}
		if now := time.Now(); !now.Before(next) {
			p, err := l.opener.open()
			switch {
			case err != nil:
				l.complain(err)
				next = l.retryAt(now)
			case l.opened(p):
				return p
			default:
				return nil
			}
		}
		if within(l.closed, reopenPoll) {
			return nil
		}
	}
}

// retryAt is when to try again after a failure.
func (l *Link) retryAt(now time.Time) time.Time {
	at := now.Add(l.backoff)
	l.backoff = min(2*l.backoff, reopenMax)
	return at
}

// await waits for the port before to be closed; false if the link is.
func (l *Link) await(freed <-chan struct{}) bool {
	if isClosed(freed) {
		return true
	}
	l.log.Warn("the device does not take what was written last; if it does not recover, plug it in again")
	select {
	case <-freed:
		return true
	case <-l.closed:
		return false
	}
}

// opened makes the link ready for a port; false if the link is closed.
func (l *Link) opened(p port) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if isClosed(l.closed) {
		_ = p.Close()
		return false
	}
	if l.ever {
		l.counts.reopened.Add(1)
	}
	l.log.Info("the serial port is open", "away", time.Since(l.since).Round(time.Millisecond))
	l.up, l.since, l.ever, l.said = true, time.Now(), true, ""
	return true
}

// reader makes datagrams of what is read from one port.
type reader struct {
	link     *Link
	decoder  framing.Decoder
	errors   framing.Errors // counted already
	silences int            // in a row, of framing.Gap each
	batch    []transports.Datagram
	data     []byte // of batch
}

// decode returns the datagrams that the octets complete; none octets are a silence. They
// are valid until the next call.
func (in *reader) decode(octets []byte) []transports.Datagram {
	l := in.link
	in.batch, in.data = in.batch[:0], in.data[:0]
	l.mu.Lock()
	if len(octets) == 0 {
		if in.silences++; in.silences == l.patience() {
			in.decoder.Idle()
			in.decoder.Decode(nil, in.receive) // what stood behind an incomplete frame
		}
	} else {
		in.silences = 0
		in.decoder.Decode(octets, in.receive)
		l.stir() // a status may have made room
	}
	l.mu.Unlock()
	errors := in.decoder.Errors()
	l.counts.decoded(in.errors, errors)
	in.errors = errors
	l.counts.receivedOctets.Add(uint64(len(octets)))
	l.counts.received.Add(uint64(len(in.batch)))
	return in.batch
}

// patience is how many silences end a frame. Raw packets need the first one to be found
// again after an error. SLIP, COBS and API mode 2 have marks that stand nowhere else, and
// an adapter or a busy sender may well pause for long within a frame. In API mode 1 the
// mark stands within frames too, so one octet of noise that looks like it swallows the
// frames that follow until there is a pause: three silences, as fewer would tear good
// frames apart, and more would seldom come in a network that sends often.
func (l *Link) patience() int {
	switch {
	case l.o.Framing == framingRaw:
		return 1
	case l.o.Framing == framingXBee && l.o.APIMode == 1:
		return 3
	default:
		return 10
	}
}

// receive copies what a packet carries, as it is valid during the call only.
func (in *reader) receive(packet []byte) {
	d, ok := in.link.medium.receive(packet)
	if !ok {
		return
	}
	start := len(in.data)
	in.data = append(in.data, d.Data...)
	d.Data = in.data[start:len(in.data):len(in.data)]
	in.batch = append(in.batch, d)
}
