package memory

import (
	"context"
	"net"
	"sync"

	"mqttsn-gateway/transports"
)

// batchSize is the most datagrams that a link hands on at once.
const batchSize = 64

// Link is the gateway's side of a network. It implements transports.Link and
// transports.DropCounter.
//
// It is strict with its user. Data that recv was given is overwritten when recv returns,
// so that whoever keeps it is found out; and an answer must carry the Local of what it
// answers, or none.
type Link struct {
	network *Network
	name    string
	addr    transports.Addr

	// The network's lock guards these.
	arrived sync.Cond
	queue   []transports.Datagram
	drops   uint64
	busy    bool
	closed  bool
}

// Name is "memory " and the name that Network.Link was given.
func (l *Link) Name() string { return "memory " + l.name }

// MTU is that of the network.
func (l *Link) MTU() int { return l.network.o.MTU }

// Addr is the address of the link, the Local of all that it receives.
func (l *Link) Addr() transports.Addr { return l.addr }

// ReceiveDrops is how many datagrams found the link's queue full.
func (l *Link) ReceiveDrops() uint64 {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	return l.drops
}

// SetBusy makes Send refuse everything with transports.ErrBusy, or ends that.
func (l *Link) SetBusy(busy bool) {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	l.busy = busy
}

// receive queues a datagram; false if there is no room. The network's lock is held.
func (l *Link) receive(d datagram) bool {
	if len(l.queue) >= l.network.o.Queue {
		l.drops++
		return false
	}
	l.queue = append(l.queue, transports.Datagram{Addr: d.peer, Local: l.addr, Data: append([]byte{}, d.data...)})
	l.arrived.Broadcast()
	return true
}

// Serve hands on what arrives until ctx is done or the link is closed.
func (l *Link) Serve(ctx context.Context, recv func(batch []transports.Datagram)) error {
	stop := context.AfterFunc(ctx, func() {
		l.network.mu.Lock()
		defer l.network.mu.Unlock()
		l.arrived.Broadcast()
	})
	defer stop()
	for {
		batch := l.next(ctx)
		if batch == nil {
			return nil
		}
		recv(batch)
		for _, d := range batch {
			for i := range d.Data {
				d.Data[i] = 0xDB
			}
		}
		clear(batch)
	}
}

// next waits for datagrams; nil when there will be none.
func (l *Link) next(ctx context.Context) []transports.Datagram {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	for len(l.queue) == 0 && !l.closed && ctx.Err() == nil {
		l.arrived.Wait()
	}
	if l.closed || ctx.Err() != nil {
		return nil
	}
	size := min(len(l.queue), batchSize)
	batch := append([]transports.Datagram{}, l.queue[:size]...)
	l.queue = append(l.queue[:0], l.queue[size:]...)
	return batch
}

// Send hands the batch to the network, whose faults are not the sender's to know: sent
// counts what it lost too. A datagram above the MTU or with a foreign Local is not sent.
func (l *Link) Send(batch []transports.Datagram) (sent int, err error) {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	if l.closed {
		return 0, net.ErrClosed
	}
	if l.busy {
		return 0, transports.ErrBusy
	}
	for _, d := range batch {
		failure := errWrongLocal
		if d.Local.IsZero() || d.Local == l.addr {
			failure = l.network.send(l.network.down, datagram{link: l.name, peer: d.Addr, data: d.Data})
		}
		if failure == nil {
			sent++
		} else if err == nil {
			err = failure
		}
	}
	return sent, err
}

// Close ends Serve and frees the name for another link.
func (l *Link) Close() error {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	l.close()
	return nil
}

func (l *Link) close() {
	if l.closed {
		return
	}
	l.closed = true
	l.queue = nil
	delete(l.network.links, l.name)
	l.arrived.Broadcast()
}
