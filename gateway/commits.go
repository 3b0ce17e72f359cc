package gateway

import (
	"context"
	"log/slog"
	"time"

	"mqttsn-gateway/gateway/store"
)

// committed takes the store's word that more is durable, or that its level has changed. The
// store does nothing meanwhile, so the shards are visited by follow.
func (g *Gateway) committed() {
	select {
	case g.commits <- struct{}{}:
	default: // what has not been looked at yet will be looked at, and this with it
	}
}

// follow visits the shards after each commit, until ctx is done.
func (g *Gateway) follow(ctx context.Context) {
	for {
		g.afterCommit()
		select {
		case <-g.commits:
		case <-ctx.Done():
			return
		}
	}
}

// afterCommit lets those packets leave that have waited for what is durable now: one visit
// for each shard that has any.
func (g *Gateway) afterCommit() {
	g.watchLevel()
	entered := false
	for _, s := range g.shards {
		if s.holding.Load() {
			s.mu.Lock()
			s.leave(time.Now())
			entered = true
		}
	}
	if entered {
		g.settle()
	}
}

// levelMeaning is what a level means, and what can be done about it.
var levelMeaning = [...]struct {
	level slog.Level
	text  string
}{
	store.Normal:   {slog.LevelInfo, "the store has room again: everything is accepted"},
	store.Warning:  {slog.LevelWarn, "the store fills up: from 80 % on it refuses new clients; see which clients do not collect their messages, or give it more room"},
	store.Crowded:  {slog.LevelWarn, "the store is crowded: new clients are refused with congestion, known ones are served; see which clients do not collect their messages, or give it more room"},
	store.Full:     {slog.LevelError, "the store is full: new messages with QoS 1 and 2 are refused, those that were accepted are delivered; see which clients do not collect their messages, or give it more room"},
	store.Degraded: {slog.LevelError, "the disk of the store is full or has failed: nothing is acknowledged that would have to be kept; make room on it or replace it, the gateway goes on by itself"},
}

// watchLevel says when the level of the store has changed.
func (g *Gateway) watchLevel() {
	level := min(g.store.Level(), store.Degraded)
	if was := g.level; was != level {
		g.level = level
		m := levelMeaning[level]
		g.log.Log(context.Background(), m.level, m.text, "level", level.String(), "was", was.String())
	}
}

// crowded reports whether the store has no room for a new client.
func (g *Gateway) crowded() bool { return g.store != nil && g.store.Level() >= store.Crowded }
