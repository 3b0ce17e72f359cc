package udp

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mqttsn-gateway/transports"
)

// groups are the multicast groups of a link: what it listens to, and where it sends.
//
// What the link sends to a group comes from its own socket, whose address is the one that
// clients are to connect to. What is sent to a group is heard by the same socket if that
// listens at every address and at the group's port, else by one of its own: an ear.
type groups struct {
	ears    []*ear
	named   []string   // interfaces to use; empty: those that can multicast
	at      netip.Addr // the only address that the link listens at; else invalid
	hops    int
	list    func() ([]nic, error)
	every   time.Duration
	log     *slog.Logger
	targets atomic.Pointer[[]target]
	failed  atomic.Uint64

	mu      sync.Mutex // one refresh at a time; guards what follows
	members map[membership]error
}

// target is a group on one interface.
type target struct {
	group netip.AddrPort
	nic   nic
}

// membership names a target: the ear by its place, the interface by its index.
type membership struct{ ear, index int }

// refreshEvery is how often interfaces that have come or gone are looked for.
const refreshEvery = 30 * time.Second

// GroupState says how a link stands with its multicast groups.
type GroupState struct {
	// Joined is on how many interfaces groups are heard, each group counted by itself.
	Joined int
	// Failures is how often joining a group on an interface has failed so far.
	Failures uint64
}

// Groups says how the link stands with its groups.
func (l *Link) Groups() GroupState {
	g := l.groups
	if g == nil {
		return GroupState{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return GroupState{Joined: g.joined(), Failures: g.failed.Load()}
}

// LogTo says where Serve is to report on which interfaces groups are heard. It must be
// called before Serve.
func (l *Link) LogTo(log *slog.Logger) {
	if l.groups != nil {
		l.groups.log = log.With("link", l.name)
	}
}

// openGroups makes the groups of a link whose socket is open. A link that is deaf, because
// it only searches, may send to groups that it cannot listen to.
func (l *Link) openGroups(o Options, open opening, list func() ([]nic, error), deaf bool) error {
	all, err := parseGroups(o.Groups)
	if err != nil || len(all) == 0 {
		return err
	}
	g := &groups{
		named: o.GroupInterfaces, hops: o.GroupHops, list: list, every: refreshEvery,
		log: slog.New(slog.DiscardHandler), members: map[membership]error{},
	}
	at := l.conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	if !at.IsUnspecified() {
		g.at = at
	}
	l.groups = g
	for _, group := range all {
		ip4 := group.Addr().Is4()
		switch {
		case g.at.IsValid() && at.Is4() != ip4, at == netip.IPv4Unspecified() && !ip4:
			continue // clients could not connect
		case !g.at.IsValid() && group.Port() == l.addr.Port():
			g.ears = append(g.ears, &ear{group: group, conn: l.conn})
		default:
			g.ears = append(g.ears, newEar(group, o, open, &l.dropped))
		}
	}
	if err := g.refresh(); err != nil {
		return fmt.Errorf("groups: the interfaces of this machine cannot be listed: %w", err)
	}
	if len(*g.targets.Load()) == 0 || !deaf && g.joined() == 0 {
		return g.nothing(o)
	}
	return nil
}

// nothing says why there is not one group to listen to.
func (g *groups) nothing(o Options) error {
	var reasons []string
	for m, err := range g.members {
		switch e := g.ears[m.ear]; {
		case err == nil:
		case e.conn == nil:
			reasons = append(reasons, e.group.String()+": "+err.Error())
		default:
			reasons = append(reasons, e.group.String()+" on "+g.name(m)+": "+err.Error())
		}
	}
	slices.Sort(reasons)
	reasons = slices.Compact(reasons)
	switch {
	case len(reasons) > 0:
	case len(g.ears) == 0:
		reasons = append(reasons, "the listener at "+o.Listen+" does not speak their IP version")
	case len(g.named) > 0 && g.at.IsValid():
		reasons = append(reasons, "none of group_interfaces ("+strings.Join(g.named, ", ")+") is up and has the address of listen "+o.Listen)
	case len(g.named) > 0:
		reasons = append(reasons, "none of group_interfaces ("+strings.Join(g.named, ", ")+") is up and has an address")
	case g.at.IsLoopback():
		reasons = append(reasons, "the listener at "+o.Listen+" is for this machine alone; listen at :1883, or set group_interfaces to [lo]")
	default:
		reasons = append(reasons, "no interface is up, can multicast and has the address of listen "+o.Listen)
	}
	return fmt.Errorf("groups: cannot listen to %s: %s", strings.Join(o.Groups, ", "), strings.Join(reasons, "; "))
}

// eligible reports whether a group is to be used on an interface.
func (g *groups) eligible(group netip.AddrPort, n *nic) bool {
	switch {
	case n.Flags&net.FlagUp == 0, !n.speaks(group.Addr().Is4()):
		return false
	case g.at.IsValid() && !slices.Contains(n.addrs, g.at.WithZone("")):
		return false // who hears us there could not connect
	case g.at.Zone() != "" && g.at.Zone() != n.Name:
		return false
	case len(g.named) > 0:
		return slices.Contains(g.named, n.Name)
	default:
		return n.Flags&net.FlagMulticast != 0
	}
}

// refresh joins the groups on interfaces that have come, and forgets those that have gone.
func (g *groups) refresh() error {
	nics, err := g.list()
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var targets []target
	wanted := map[membership]bool{}
	for i, e := range g.ears {
		for _, n := range nics {
			if !g.eligible(e.group, &n) {
				continue
			}
			targets = append(targets, target{e.group, n})
			m := membership{i, n.Index}
			wanted[m] = true
			if before, tried := g.members[m]; tried && before == nil {
				continue
			} else if err := e.join(&n.Interface); err != nil {
				g.failed.Add(1)
				if g.members[m] = err; !tried {
					g.log.Warn("a multicast group is not heard", "group", e.group, "interface", n.Name, "err", err)
				}
			} else {
				g.members[m] = nil
				g.log.Info("listening to a multicast group", "group", e.group, "interface", n.Name)
			}
		}
	}
	for m, err := range maps.All(g.members) {
		if !wanted[m] {
			delete(g.members, m)
			if err == nil {
				g.ears[m.ear].leave(m.index)
				g.log.Info("no longer listening to a multicast group", "group", g.ears[m.ear].group, "index", m.index)
			}
		}
	}
	g.targets.Store(&targets)
	return nil
}

// joined counts the memberships; g.mu is held, or nobody else knows g yet.
func (g *groups) joined() (n int) {
	for _, err := range g.members {
		if err == nil {
			n++
		}
	}
	return n
}

// report logs what was joined, and what not, before there was a log.
func (g *groups) report() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for m, err := range g.members {
		if err != nil {
			g.log.Warn("a multicast group is not heard", "group", g.ears[m.ear].group, "interface", g.name(m), "err", err)
		} else {
			g.log.Info("listening to a multicast group", "group", g.ears[m.ear].group, "interface", g.name(m))
		}
	}
}

// name is that of the interface of a membership.
func (g *groups) name(m membership) string {
	for _, t := range *g.targets.Load() {
		if t.nic.Index == m.index {
			return t.nic.Name
		}
	}
	return fmt.Sprintf("interface %d", m.index)
}

// Broadcast implements transports.Broadcaster: data goes to every group, on every interface
// of GroupInterfaces, or only on the one of near and in its IP version. radius becomes
// the TTL or hop limit, at most GroupHops. An error means that no group has taken data,
// transports.ErrNobody that there is none. What a single interface refused is counted in
// Drops as Unsendable; that it was busy only if another took data, else the error says it.
func (l *Link) Broadcast(near transports.Addr, radius uint8, data []byte) error {
	g := l.groups
	if g == nil {
		return transports.ErrNobody
	}
	if len(data) > l.mtu {
		l.dropped.oversize.Add(1)
		return errTooLarge
	}
	hops := g.hops
	if radius > 0 {
		hops = min(hops, int(radius))
	}
	var failure error
	sent, busy := 0, 0
	for _, t := range *g.targets.Load() {
		if !t.reaches(near) {
			continue
		}
		err := l.socket.sendGroup(t, hops, data)
		switch {
		case err == nil:
			sent++
		case errors.Is(err, net.ErrClosed):
			return err
		case isBusy(err), errors.Is(err, transports.ErrBusy):
			failure = transports.ErrBusy
			busy++
		default:
			l.dropped.unsendable.Add(1)
			if failure == nil {
				failure = cause(err)
			}
		}
	}
	switch {
	case sent > 0:
		l.dropped.unsendable.Add(uint64(busy))
		return nil
	case failure == nil:
		return transports.ErrNobody
	}
	return failure
}

// reaches reports whether those may hear the target who sent a datagram to near.
func (t *target) reaches(near transports.Addr) bool {
	ap, index, ok := near.AddrPort()
	switch {
	case !ok:
		return true
	case ap.Addr().Is4() != t.group.Addr().Is4():
		return false
	case index != 0:
		return int(index) == t.nic.Index
	default:
		return ap.Addr().IsUnspecified() || slices.Contains(t.nic.addrs, ap.Addr())
	}
}
