package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/gateway/store"
)

func TestResponsive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMemory()
		g := &Gateway{store: st, shards: []*shard{{}, {}}}
		ask := func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return g.Responsive(ctx)
		}
		if !ask() {
			t.Error("idle, and not responsive")
		}
		g.shards[1].mu.Lock()
		// A mutex that is waited for does not let synctest's time pass.
		done, cancel := context.WithCancel(t.Context())
		cancel()
		if g.Responsive(done) {
			t.Error("responsive while somebody stays in a shard")
		}
		g.shards[1].mu.Unlock()
		st.Hold()
		st.Apply(store.Put(store.SessionState, "c", 0, []byte("x")))
		if ask() {
			t.Error("responsive while nothing becomes durable")
		}
		st.SetLevel(store.Degraded)
		if !ask() {
			t.Error("a disk that is known to fail is not mended by a new process")
		}
		st.SetLevel(store.Normal)
		go func() {
			time.Sleep(pulsePause)
			st.Commit()
		}()
		if !ask() {
			t.Error("all is durable, and it is not responsive")
		}
	})
}
