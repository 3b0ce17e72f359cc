package faults

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// radio is a UDP proxy between devices and the gateway that treats each datagram, in
// both directions, as a bad radio would.
type radio struct {
	addr, to           string
	loss, copies, late float64 // shares of datagrams
	conn               *net.UDPConn

	mu    sync.Mutex
	rnd   *rand.Rand
	ways  map[netip.AddrPort]net.Conn
	done  bool
	tally struct{ sent, lost, copied, late int }
}

// newRadio is one that loses 30 % of all datagrams, sends 1 % twice and lets 2 % be
// overtaken. No copy of a PUBLISH outlives the exchange that it is part of: the receiver of
// QoS 2 forgets the MsgId at PUBREL, so nobody could tell it from another message.
func newRadio(t testing.TB, to string, rnd *rand.Rand) *radio {
	t.Helper()
	r := &radio{to: to, loss: 0.3, copies: 0.01, late: 0.02, rnd: rnd, ways: map[netip.AddrPort]net.Conn{}}
	var err error
	if r.conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	_ = r.conn.SetReadBuffer(4 << 20)
	r.addr = r.conn.LocalAddr().String()
	go r.serve()
	t.Cleanup(r.close)
	return r
}

func (r *radio) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = true
	_ = r.conn.Close()
	for _, way := range r.ways {
		_ = way.Close()
	}
	r.ways = nil
}

// serve carries what comes from devices.
func (r *radio) serve() {
	buf := make([]byte, 2048)
	for {
		n, from, err := r.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if way := r.way(from); way != nil {
			r.carry(buf[:n], func(b []byte) { _, _ = way.Write(b) })
		}
	}
}

// way is a device's socket towards the gateway.
func (r *radio) way(from netip.AddrPort) net.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	way := r.ways[from]
	if way != nil || r.done {
		return way
	}
	way, err := net.Dial("udp", r.to)
	if err != nil {
		return nil
	}
	r.ways[from] = way
	go func() {
		buf := make([]byte, 2048)
		for {
			n, err := way.Read(buf)
			if err != nil && r.over() {
				return
			}
			if err == nil { // else nobody listens on the port, for the moment
				r.carry(buf[:n], func(b []byte) { _, _ = r.conn.WriteToUDPAddrPort(b, from) })
			}
		}
	}()
	return way
}

func (r *radio) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done
}

// carry does with a datagram what the dice say.
func (r *radio) carry(b []byte, send func([]byte)) {
	r.mu.Lock()
	lost, copied, late := r.rnd.Float64() < r.loss, r.rnd.Float64() < r.copies, r.rnd.Float64() < r.late
	delay := time.Millisecond + time.Duration(r.rnd.Int64N(int64(9*time.Millisecond)))
	late = late && !copied
	r.tally.sent++
	for flag, count := range map[*bool]*int{&lost: &r.tally.lost, &copied: &r.tally.copied, &late: &r.tally.late} {
		if *flag {
			*count++
		}
	}
	r.mu.Unlock()
	if lost {
		return
	}
	if copied {
		send(b)
	}
	if !late {
		send(b)
		return
	}
	kept := append([]byte(nil), b...)
	time.AfterFunc(delay, func() { send(kept) })
}
