package forward

import (
	"log/slog"
	"sync"
	"time"

	"mqttsn-gateway/mqttsn"
)

// trouble is what is wrong with the gateway, as far as a forwarder can tell.
type trouble int

const (
	none        trouble = iota
	unreachable         // the network says that nobody listens there, or that there is no way
	silent              // it does not answer
)

const (
	// silence is how long the gateway may leave devices without an answer: twice the
	// time after which they usually ask again [SN-7.2].
	silence = 30 * time.Second
	// silenceAsked is how many packets must have had none: one or two are lost easily.
	silenceAsked = 3
)

// health knows whether the gateway answers, and tells the log when that changes: once
// when it is lost, once when it is back.
type health struct {
	log   *slog.Logger
	to    string        // Options.To
	nudge chan struct{} // has an element when trouble has begun

	mu      sync.Mutex // guards what follows
	up      bool
	since   time.Time // when up became what it is
	trouble trouble
	began   time.Time // the trouble, or the time without a socket
	socket  bool      // there is one
	told    bool      // the log knows that there is no socket
	passed  time.Time // the first packet to the gateway since the last one that was refused
	heard   time.Time // the last packet of the gateway
	asked   time.Time // the first packet of a device since then that wants an answer
	waiting int       // how many those are
}

func newHealth(to string, log *slog.Logger) health {
	return health{log: log, to: to, nudge: make(chan struct{}, 1), since: time.Now()}
}

func (h *health) state() (up bool, since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.up, h.since
}

func (h *health) setUp(up bool, now time.Time) {
	if h.up != up {
		h.up, h.since = up, now
	}
}

// open hears that there is a socket.
func (h *health) open(remote, local string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.told {
		h.log.Info("the way to the gateway is open again", "gateway", h.to, "address", remote, "local", local, "after", time.Since(h.began).Round(time.Second))
	} else {
		h.log.Debug("a socket to the gateway", "gateway", h.to, "address", remote, "local", local)
	}
	h.socket, h.told = true, false
}

// lost hears that there is no socket any more, or none yet.
func (h *health) lost(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.setUp(false, now)
	if h.socket || h.began.IsZero() {
		h.began = now
	}
	h.socket, h.asked, h.waiting = false, time.Time{}, 0
	if !h.told {
		h.told = true
		h.log.Warn("no way to the gateway, trying again until there is one", "gateway", h.to, "err", err)
	}
}

// refused hears that the network says that the gateway cannot be reached.
func (h *health) refused(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.passed = time.Time{}
	if h.trouble == unreachable {
		return
	}
	h.begin(unreachable, time.Now())
	h.log.Warn("the gateway cannot be reached: is it running there?", "gateway", h.to, "err", cause(err))
}

func (h *health) begin(t trouble, now time.Time) {
	h.trouble, h.began = t, now
	h.setUp(false, now)
	select {
	case h.nudge <- struct{}{}:
	default:
	}
}

// sent hears of a packet that went to the gateway.
func (h *health) sent() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.trouble == unreachable && h.passed.IsZero() {
		h.passed = time.Now()
	}
}

// ask hears of a packet of a device that wants an answer.
func (h *health) ask() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting++; h.waiting == 1 {
		h.asked = time.Now()
	}
}

// answer hears that the gateway sent something to a device.
func (h *health) answer() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	switch {
	case h.trouble != none:
		h.log.Info("the gateway answers again", "gateway", h.to, "after", now.Sub(h.began).Round(time.Second))
	case h.heard.IsZero():
		h.log.Info("the gateway answers", "gateway", h.to)
	}
	h.heard, h.asked, h.waiting, h.trouble = now, time.Time{}, 0, none
	h.setUp(true, now)
}

// check is what is wrong at now, and when the gateway was last heard.
func (h *health) check(now time.Time) (t trouble, heard time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.trouble == unreachable && !h.passed.IsZero() && now.Sub(h.passed) >= checkEvery {
		// Devices that send QoS -1 get no answer to tell.
		h.trouble = none
		h.log.Info("the gateway is not out of reach any more", "gateway", h.to, "after", now.Sub(h.began).Round(time.Second))
	}
	if h.trouble == none && h.waiting >= silenceAsked && now.Sub(h.asked) >= silence {
		h.begin(silent, now)
		h.log.Warn("the gateway does not answer: check that the address is right, that a firewall lets UDP pass, and that the gateway allows this forwarder (gateway.forwarders there)",
			"gateway", h.to, "unanswered", h.waiting, "after", now.Sub(h.asked).Round(time.Second))
	}
	return h.trouble, h.heard
}

// asks reports whether a device waits for an answer to p. Acknowledgements, QoS 0 and -1
// get none [SN-6.6, 6.8], and a search only from a gateway that has a broker.
func asks(p mqttsn.Packet) bool {
	switch p := p.(type) {
	case *mqttsn.Publish:
		return p.QoS == mqttsn.QoS1 || p.QoS == mqttsn.QoS2
	case *mqttsn.Connect, *mqttsn.WillTopic, *mqttsn.WillMsg, *mqttsn.Register, *mqttsn.Pubrec, *mqttsn.Pubrel,
		*mqttsn.Subscribe, *mqttsn.Unsubscribe, *mqttsn.Pingreq, *mqttsn.Disconnect,
		*mqttsn.WillTopicUpd, *mqttsn.WillMsgUpd:
		return true
	}
	return false
}
