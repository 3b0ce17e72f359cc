package serial

import (
	"context"
	"log/slog"
	"time"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/serial/xbee"
)

func (r *radio) receive(packet []byte) (d transports.Datagram, ok bool) {
	frame, err := xbee.Parse(packet)
	if err != nil {
		r.counts.dropped[malformed].Add(1)
		return d, false
	}
	switch f := frame.(type) {
	case *xbee.Receive:
		return r.datagram(f.From, f.From16, f.Options, f.Data), true
	case *xbee.ExplicitReceive:
		if f.ToEndpoint == 0 { // the network's own affairs, not an application's
			r.counts.dropped[unused].Add(1)
			return d, false
		}
		return r.datagram(f.From, f.From16, f.Options, f.Data), true
	case *xbee.Receive64:
		return r.datagram802(nodeAddr(f.From), f.Signal(), f.Options, f.Data), true
	case *xbee.Receive16:
		return r.datagram802(shortAddr(f.From), f.Signal(), f.Options, f.Data), true
	case *xbee.TransmitStatus:
		r.speaks(false)
		r.status(f.ID, f.Delivery)
	case *xbee.Status802:
		r.speaks(true)
		r.status(f.ID, xbee.Delivery(f.Status))
	case *xbee.ModemStatus:
		r.modem(f)
	case *xbee.NodeIdentification:
		r.speaks(false)
		r.events.log(r.log, time.Now(), slog.LevelDebug, "an XBee node presents itself", "node", nodeAddr(f.Node), "name", string(f.Name))
		r.known.learn(nodeAddr(f.Node), f.Node16)
	default:
		r.counts.dropped[unused].Add(1)
	}
	return d, false
}

// speaks notes which frames the module uses, if that is to be found out.
func (r *radio) speaks(old bool) {
	if r.firmware == firmwareAuto {
		r.old = old
	}
}

func (r *radio) datagram(from uint64, from16 uint16, options byte, data []byte) transports.Datagram {
	r.speaks(false)
	addr := nodeAddr(from)
	if from == unknown64 {
		addr = shortAddr(from16)
	} else {
		r.known.learn(addr, from16)
	}
	return transports.Datagram{Addr: addr, Data: data, Multicast: options&xbee.ToAll != 0}
}

func (r *radio) datagram802(from transports.Addr, signal int8, options byte, data []byte) transports.Datagram {
	r.speaks(true)
	r.known.doubt(from, false)
	d := transports.Datagram{
		Addr:      from,
		Data:      data,
		Multicast: options&(xbee.ToAll|xbee.ToAllPANs) != 0,
		Signal:    signal,
	}
	r.counts.signal.Store(int32(signal))
	return d
}

// status ends the transmission with that frame id. What was not delivered is not sent
// again: the session does that, if the packet is still wanted.
func (r *radio) status(id byte, delivery xbee.Delivery) {
	n := r.hand[id]
	if n == nil {
		return // it comes after we have given up waiting for it
	}
	r.known.doubt(n.addr, delivery != xbee.Delivered)
	if delivery == xbee.Delivered {
		r.counts.delivered.Add(1)
	} else {
		r.counts.dropped[transmitFailed].Add(1)
		r.counts.failed[byte(delivery)].Add(1)
		r.failures.log(r.log, time.Now(), slog.LevelDebug, "the XBee module could not deliver a packet", "node", n.addr, "status", delivery.String())
	}
	if delivery.Stale() {
		r.known.forget(n.addr)
	}
	r.finish(n)
}

// modem takes note of a modem status. A module that was reset has forgotten what it had.
func (r *radio) modem(f *xbee.ModemStatus) {
	r.counts.modem.Add(1)
	r.events.log(r.log, time.Now(), slog.LevelInfo, "XBee modem status", "status", f.String())
	if f.Status != hardwareReset && f.Status != watchdogReset {
		return
	}
	for _, n := range r.hand {
		if n != nil {
			r.counts.dropped[noStatus].Add(1)
			r.finish(n)
		}
	}
}

// Modem statuses.
const (
	hardwareReset = 0x00
	watchdogReset = 0x01
)

// limited keeps a log line that others bring about from filling the log.
type limited struct {
	last   time.Time
	missed int
}

// logEvery is the shortest time between two such lines.
const logEvery = 10 * time.Second

func (l *limited) log(log *slog.Logger, now time.Time, level slog.Level, text string, args ...any) {
	if !l.last.IsZero() && now.Sub(l.last) < logEvery {
		l.missed++
		return
	}
	if l.missed > 0 {
		args = append(args, "more_before", l.missed)
	}
	l.last, l.missed = now, 0
	log.Log(context.Background(), level, text, args...)
}
