package upstream

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// hub is a broker in a bubble of fake time that keeps its sessions. It passes a QoS 2
// message on when PUBREL comes, and drops what it was not released for with the session.
type hub struct {
	t *testing.T

	mu       sync.Mutex
	away     bool
	life     int // connections of an earlier life are not listened to
	conns    map[net.Conn]string
	sessions map[string]*hubSession
	taken    []string        // payloads of messages that were passed on, in order
	at       []time.Time     // and when
	refuse   map[string]byte // reason codes by payload
	window   uint16          // our receive maximum, 0: none
	silent   bool            // does not acknowledge
	connects int             // of clients
	clients  []string        // that have connected
	users    []string        // their user names, and the gateway's own
	filters  []string        // that were subscribed to
	ignoring bool            // what comes from the gateway

	processes []*process
}

type hubSession struct {
	conn   net.Conn
	up     map[uint16]string // QoS 2 messages without PUBREL
	down   []*hubMessage     // in flight or waiting
	most   int               // receive maximum of the client
	lastID uint16
}

type hubMessage struct {
	payload       string
	qos           byte
	id            uint16
	sent, relayed bool // relayed: PUBREC has come
}

func newHub(t *testing.T) *hub {
	return &hub{t: t, conns: make(map[net.Conn]string), sessions: make(map[string]*hubSession), refuse: make(map[string]byte)}
}

func (h *hub) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// cut ends all connections.
func (h *hub) cut() {
	for conn := range h.conns {
		_ = conn.Close()
	}
}

func (h *hub) dial(context.Context, string) (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away {
		return nil, errAway
	}
	ours, theirs := net.Pipe()
	h.conns[theirs] = ""
	go h.serve(newBuffered(theirs), theirs, h.life)
	return ours, nil
}

// buffered writes without waiting for the reader, as TCP does.
type buffered struct {
	net.Conn
	ch chan []byte
}

func newBuffered(c net.Conn) *buffered {
	b := &buffered{c, make(chan []byte, 10000)}
	go func() {
		for p := range b.ch {
			_, _ = c.Write(p)
		}
	}()
	return b
}

func (b *buffered) Write(p []byte) (int, error) {
	b.ch <- slices.Clone(p)
	return len(p), nil
}

func (h *hub) serve(conn *buffered, raw net.Conn, life int) {
	defer func() {
		_ = raw.Close()
		h.set(func() {
			delete(h.conns, raw)
			close(conn.ch)
			for _, s := range h.sessions {
				if s.conn == conn {
					s.conn = nil
				}
			}
		})
	}()
	first, err := packets.ReadPacket(raw)
	if err != nil {
		return
	}
	c := first.Content.(*packets.Connect)
	health := strings.Contains(c.ClientID, "-health-")
	h.set(func() { h.welcome(conn, c, health, life) })
	for {
		p, err := packets.ReadPacket(raw)
		if err != nil {
			return
		}
		end := false
		h.set(func() {
			if life != h.life || h.ignoring {
				return
			}
			end = h.handle(conn, c.ClientID, p)
		})
		if end {
			return
		}
	}
}

func (h *hub) welcome(conn *buffered, c *packets.Connect, health bool, life int) {
	if life != h.life || h.ignoring {
		return
	}
	ack := &packets.Connack{Properties: &packets.Properties{}}
	h.users = append(h.users, c.Username)
	if !health {
		h.connects++
		h.clients = append(h.clients, c.ClientID)
		s := h.sessions[c.ClientID]
		if s != nil && s.conn != nil {
			_ = s.conn.Close()
		}
		if s == nil || c.CleanStart {
			s = &hubSession{up: make(map[uint16]string)}
			h.sessions[c.ClientID] = s
		} else {
			ack.SessionPresent = true
		}
		s.conn, s.most = conn, int(*c.Properties.ReceiveMaximum)
		if h.window > 0 {
			ack.Properties.ReceiveMaximum = &h.window
		}
		_, _ = ack.WriteTo(conn)
		for _, m := range s.down {
			switch {
			case m.relayed:
				_, _ = (&packets.Pubrel{PacketID: m.id, Properties: &packets.Properties{}}).WriteTo(conn)
			case m.sent:
				s.send(m, true)
			}
		}
		s.pump()
		return
	}
	_, _ = ack.WriteTo(conn)
}

func (s *hubSession) send(m *hubMessage, dup bool) {
	m.sent = true
	_, _ = (&packets.Publish{Topic: "t", Payload: []byte(m.payload), QoS: m.qos, PacketID: m.id, Duplicate: dup, Properties: &packets.Properties{}}).WriteTo(s.conn)
}

func (s *hubSession) pump() {
	if s.conn == nil {
		return
	}
	n := 0
	for _, m := range s.down {
		if !m.sent && n < s.most {
			s.lastID++
			m.id = s.lastID
			s.send(m, false)
		}
		n++
	}
}

// deliver publishes to a client.
func (h *hub) deliver(client, payload string, qos byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[client]
	if s == nil {
		s = &hubSession{up: make(map[uint16]string)}
		h.sessions[client] = s
	}
	s.down = append(s.down, &hubMessage{payload: payload, qos: qos})
	s.pump()
}

func (s *hubSession) done(id uint16) {
	s.down = slices.DeleteFunc(s.down, func(m *hubMessage) bool { return m.sent && m.id == id })
	s.pump()
}

func (h *hub) take(payload string) {
	h.taken = append(h.taken, payload)
	h.at = append(h.at, time.Now())
}

func (h *hub) handle(conn *buffered, client string, p *packets.ControlPacket) (end bool) {
	s := h.sessions[client]
	if !strings.Contains(client, "-health-") && (s == nil || s.conn != conn) {
		return true // the client has connected anew: a pipe does not wait for us to close it
	}
	none := &packets.Properties{}
	switch p := p.Content.(type) {
	case *packets.Pingreq:
		_, _ = (&packets.Pingresp{}).WriteTo(conn)
	case *packets.Disconnect:
		if e := p.Properties.SessionExpiryInterval; e != nil && *e == 0 {
			delete(h.sessions, client)
		}
		return true
	case *packets.Subscribe:
		h.filters = append(h.filters, p.Subscriptions[0].Topic)
		_, _ = (&packets.Suback{PacketID: p.PacketID, Reasons: []byte{p.Subscriptions[0].QoS}, Properties: none}).WriteTo(conn)
	case *packets.Publish:
		code, payload := h.refuse[string(p.Payload)], string(p.Payload)
		switch p.QoS {
		case 0:
			h.take(payload)
		case 1:
			if code == 0 {
				h.take(payload)
			}
			if !h.silent {
				_, _ = (&packets.Puback{PacketID: p.PacketID, ReasonCode: code, Properties: none}).WriteTo(conn)
			}
		case 2:
			if code == 0 {
				if before, open := s.up[p.PacketID]; open && before != payload {
					h.t.Errorf("identifier %d is used for %q while %q is not released", p.PacketID, payload, before)
				}
				s.up[p.PacketID] = payload
			}
			if !h.silent {
				_, _ = (&packets.Pubrec{PacketID: p.PacketID, ReasonCode: code, Properties: none}).WriteTo(conn)
			}
		}
	case *packets.Pubrel:
		if payload, open := s.up[p.PacketID]; open {
			h.take(payload)
			delete(s.up, p.PacketID)
		}
		_, _ = (&packets.Pubcomp{PacketID: p.PacketID, Properties: none}).WriteTo(conn)
	case *packets.Puback:
		s.done(p.PacketID)
	case *packets.Pubcomp:
		s.done(p.PacketID)
	case *packets.Pubrec:
		for _, m := range s.down {
			if m.sent && m.id == p.PacketID {
				m.relayed = true
				_, _ = (&packets.Pubrel{PacketID: m.id, Properties: none}).WriteTo(conn)
			}
		}
	}
	return false
}

// restart ends the hub's life and begins the next one, with its sessions or without.
func (h *hub) restart(keep bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.life++
	h.cut()
	if !keep {
		h.sessions = make(map[string]*hubSession)
	}
}

// process is a Broker that is served until it ends or crashes.
type process struct {
	*Broker
	t      *testing.T
	l      *logs
	cancel func()
	done   chan error
	once   sync.Once
}

// begin starts a process with what is in st.
func (h *hub) begin(o Options, st store.Store) *process {
	h.t.Helper()
	o.URL = "mqtt://broker"
	p := &process{t: h.t, l: &logs{}, done: make(chan error, 1)}
	b, err := New(o, st, slog.New(slog.NewTextHandler(p.l, nil)))
	if err != nil {
		h.t.Fatal(err)
	}
	b.dialer.dial = func(ctx context.Context, address string, _ *tls.Certificate) (net.Conn, error) {
		return h.dial(ctx, address)
	}
	p.Broker = b
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	h.processes = append(h.processes, p)
	go func() { p.done <- b.Serve(ctx, b.Flush) }()
	return p
}

func (p *process) end() {
	p.once.Do(func() {
		p.cancel()
		if err := <-p.done; err != nil {
			p.t.Errorf("Serve: %v", err)
		}
	})
}

// crash ends a process of which the hub hears nothing more.
func (h *hub) crash(p *process) {
	h.set(func() {
		h.life++
		h.cut()
		h.ignoring = true
	})
	p.end()
	h.set(func() { h.ignoring = false })
}

func (p *process) device(id string) *device {
	d := &device{t: p.t, b: &served{Broker: p.Broker}}
	d.Conn = p.Open(id, d)
	return d
}

// inHub runs f in a bubble with a hub.
func inHub(t *testing.T, f func(t *testing.T, h *hub)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		defer func() {
			h.restart(true)
			for _, p := range h.processes {
				p.end()
			}
			synctest.Wait()
		}()
		f(t, h)
	})
}

func (h *hub) want(what string, payloads ...string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.taken, payloads) {
		h.t.Fatalf("%s: the broker has taken %q, want %q", what, h.taken, payloads)
	}
}

// spoolOptions are the defaults with short pauses.
func spoolOptions() Options {
	o := DefaultOptions()
	o.ReconnectMin, o.ReconnectMax = 100*time.Millisecond, time.Second
	o.ReconnectRate, o.HealthInterval = 10000, time.Second
	return o
}

// online connects a device while the broker is there.
func (d *device) online(clean bool) broker.Event {
	d.t.Helper()
	d.do(broker.Request{Op: broker.Connect, Token: 1000, CleanSession: clean})
	time.Sleep(time.Second) // fake time
	return d.answer(1000, 0)
}

// pass lets fake time pass, and what is due then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
