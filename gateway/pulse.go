package gateway

import (
	"context"
	"time"

	"mqttsn-gateway/gateway/store"
)

// pulsePause is the time between two looks at the store.
const pulsePause = 50 * time.Millisecond

// Responsive reports whether the gateway is at work: each shard can be entered, and what the
// store was given before the call becomes durable, or the disk is known to fail, before ctx is
// done. If it is false, the goroutine that waits for a shard stays until that can be entered.
func (g *Gateway) Responsive(ctx context.Context) bool {
	entered := make(chan struct{})
	go func() {
		defer close(entered)
		for _, s := range g.shards {
			s.mu.Lock()
			s.mu.Unlock() //nolint:staticcheck // that it could be locked is all that is asked
		}
	}()
	select {
	case <-entered:
	case <-ctx.Done():
		return false
	}
	if g.store == nil {
		return true
	}
	mark := g.store.Apply()
	ticker := time.NewTicker(pulsePause)
	defer ticker.Stop()
	for g.store.Durable() < mark && g.store.Level() != store.Degraded {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
