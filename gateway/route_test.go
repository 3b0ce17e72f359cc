package gateway

import (
	"testing"

	"mqttsn-gateway/transports"
)

func peerAt(n int) transports.Peer { return transports.Peer{Addr: addr(n)} }

func TestRouteFollowsTheClient(t *testing.T) {
	r := newRoutes(nil)
	a := &client{}
	r.bind(a, peerAt(1), transports.Addr{})
	old := a.place
	r.bind(a, peerAt(2), transports.Addr{})
	if !old.stale.Load() || r.by[peerAt(1)] != nil {
		t.Error("the client is still known at the peer that it has left")
	}
	if r.by[peerAt(2)] != a.place || a.place.stale.Load() {
		t.Error("the client is not known at its new peer")
	}
}

func TestRouteOfAPeerThatHasANewClient(t *testing.T) {
	r := newRoutes(nil)
	a, b := &client{}, &client{}
	r.bind(a, peerAt(1), transports.Addr{})
	r.bind(b, peerAt(1), transports.Addr{})
	if !a.place.stale.Load() {
		t.Error("the first client could still send to a peer that is another's now")
	}
	r.unbind(a)
	if r.by[peerAt(1)] != b.place {
		t.Error("forgetting the first client has cut off the second")
	}
	r.unbind(b)
	if len(r.by) != 0 {
		t.Errorf("%d routes left over", len(r.by))
	}
}
