package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// firstWait and longestWait bound the time between two attempts to open a socket. It
	// doubles from one to the next.
	firstWait   = time.Second
	longestWait = 30 * time.Second

	// lookupTime is how long looking up a name may take.
	lookupTime = 10 * time.Second
	// checkEvery is how often the way to the gateway is looked at.
	checkEvery = 5 * time.Second
	// idleLookup is after how long without a packet of the gateway its name is looked up
	// again, though nothing seems wrong: all devices may send QoS -1.
	idleLookup = 5 * time.Minute
	// renewEvery is how long a socket serves while the gateway is in trouble. A fresh one
	// leaves from the address that the host has now, and goes to another of the
	// gateway's addresses if there are several.
	renewEvery = 30 * time.Second
)

// uplink is the way to the gateway: a UDP socket, and what replaces it when it is lost
// or the gateway has moved. The local port stays the same, because the gateway knows the
// devices by it [SN-5.5].
type uplink struct {
	options Options
	log     *slog.Logger
	receive func(datagram []byte) // hears the gateway, from one goroutine at a time
	queue   queue
	health  health
	counts  *counts

	// The system, or a test in its place.
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	open    func(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error)

	// Only run and what it calls use these.
	host   string
	port   uint16
	local  netip.AddrPort // with the port of the last socket, once there was one
	bound  bool           // there was one
	addrs  []netip.Addr   // the gateway's, as last looked up
	remote netip.Addr     // the one of them in use; the zero Addr before the first
	looked time.Time      // when addrs were looked up, or that was tried
	opened time.Time      // when the last socket was opened
}

func newUplink(o Options, c *counts, log *slog.Logger) *uplink {
	u := &uplink{
		options: o,
		log:     log,
		queue:   newQueue(o.Queue),
		health:  newHealth(o.To, log),
		counts:  c,
		resolve: resolveHost,
		open:    openSocket,
	}
	u.host, u.port = o.gateway()
	u.local, _ = o.local()
	u.queue.open() // what comes before the first socket waits for it
	return u
}

// run keeps the way open until ctx is done. It returns an error only when the local
// address cannot be had from the beginning.
func (u *uplink) run(ctx context.Context) error {
	defer u.shut()
	for wait := time.Duration(0); ctx.Err() == nil; {
		conn, err := u.connect(ctx)
		if err == nil {
			err = u.carry(ctx, conn)
			if time.Since(u.opened) > longestWait {
				wait = 0
			}
		}
		switch {
		case err == nil, ctx.Err() != nil: // a fresh socket is wanted, or none any more
		case !u.bound && isBindError(err):
			return bindError(u.options.Local, err)
		default:
			u.shut()
			u.health.lost(err)
			wait = min(max(2*wait, firstWait), longestWait)
			pause(ctx, wait)
		}
	}
	return nil
}

// connect opens a socket to the gateway.
func (u *uplink) connect(ctx context.Context) (net.Conn, error) {
	if !u.remote.IsValid() || time.Since(u.looked) >= checkEvery {
		if err := u.lookUp(ctx); err != nil && !u.remote.IsValid() {
			return nil, err
		}
	}
	if !slices.Contains(u.addrs, u.remote) {
		u.remote = u.addrs[0]
	}
	remote := netip.AddrPortFrom(u.remote, u.port)
	conn, err := u.open(ctx, u.local, remote)
	if fixed, _ := u.options.local(); err != nil && u.bound && fixed.Port() == 0 && isBindError(err) && errors.Is(err, errInUse) {
		u.log.Warn("the UDP port that the gateway knows has been taken: devices may have to connect again", "port", u.local.Port())
		u.local = fixed
		conn, err = u.open(ctx, u.local, remote)
	}
	if err != nil {
		return nil, err
	}
	if local, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		u.local = netip.AddrPortFrom(u.local.Addr(), uint16(local.Port))
	}
	u.bound, u.opened = true, time.Now()
	u.counts.sockets.Add(1)
	u.health.open(remote.String(), conn.LocalAddr().String())
	return conn, nil
}

// lookUp asks for the gateway's addresses. After an error the known ones stay.
func (u *uplink) lookUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	addrs, err := u.resolve(ctx, u.host)
	u.looked = time.Now()
	if err != nil {
		u.log.Debug("the gateway's name cannot be looked up", "gateway", u.options.To, "err", err)
		return fmt.Errorf("the name %q cannot be looked up: %w", u.host, err)
	}
	if own := u.local.Addr(); own.IsValid() {
		addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return a.Is4() != own.Is4() })
		if len(addrs) == 0 {
			return fmt.Errorf("local: %q cannot reach %q, which has no address of that IP version", u.options.Local, u.options.To)
		}
	}
	if len(addrs) == 0 {
		return fmt.Errorf("the name %q has no address", u.host)
	}
	u.addrs = addrs
	return nil
}

// shut drops what waits, and what comes until there is a socket.
func (u *uplink) shut() { u.counts.dropped[gatewayAway].Add(uint64(u.queue.close())) }

// leaveTime is how long a socket that is to be replaced may take to send what it has begun.
const leaveTime = time.Second

// carry moves datagrams through conn until ctx is done, the socket fails (the error says
// why) or a fresh one is wanted (no error, and what waits is for that one).
func (u *uplink) carry(ctx context.Context, conn net.Conn) error {
	ctx, stop := context.WithCancel(ctx)
	failed := make(chan error, 2)
	var reader, writer sync.WaitGroup
	u.queue.open()
	reader.Go(func() { failed <- u.read(conn) })
	writer.Go(func() { failed <- u.write(ctx, conn) })
	err := u.watch(ctx, failed)
	stop()
	_ = conn.SetWriteDeadline(time.Now().Add(leaveTime))
	writer.Wait()
	_ = conn.Close()
	reader.Wait()
	return err
}

// watch waits for the end of a socket's use.
func (u *uplink) watch(ctx context.Context, failed <-chan error) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		began := false
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-u.health.nudge:
			began = true
		case <-tick.C:
		}
		if u.wantsFresh(ctx, began) {
			return nil
		}
	}
}

// wantsFresh looks at the way to the gateway; began says that trouble has just begun. It
// reports whether a fresh socket is wanted, to the address that remote is then.
func (u *uplink) wantsFresh(ctx context.Context, began bool) bool {
	now := time.Now()
	trouble, heard := u.health.check(now)
	patience := renewEvery
	if trouble == unreachable && len(u.addrs) > 1 {
		patience = checkEvery // another one may be better, and certainly is no worse
	}
	renew := trouble != none && now.Sub(u.opened) >= patience
	quiet := now.Sub(later(u.looked, heard)) >= idleLookup
	if began || renew || quiet {
		_ = u.lookUp(ctx) // it has told the log, and the addresses stay
	}
	switch i := slices.Index(u.addrs, u.remote); {
	case i < 0:
		u.log.Info("the gateway has another address", "gateway", u.options.To, "was", u.remote, "is", u.addrs[0])
		u.remote = u.addrs[0]
		return true
	case renew:
		u.remote = u.addrs[(i+1)%len(u.addrs)]
		return true
	}
	return false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pause waits, unless ctx is done before.
func pause(ctx context.Context, wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
