package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// This file talks to systemd, if it has started the program as a service of type notify or
// notify-reload. Where there is no systemd all of it does nothing.

// pulse is a part of the program that can tell whether it is at work.
type pulse interface {
	Responsive(context.Context) bool
}

// serviceReady says that clients are served from now on.
func serviceReady(log *slog.Logger) {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("systemd cannot be told that the gateway is ready: " + err.Error())
	}
}

// serviceStops says that a shutdown has begun.
func serviceStops() { _, _ = daemon.SdNotify(false, daemon.SdNotifyStopping) }

// serviceReloads says that files are read anew; done that they have been.
func serviceReloads() (done func()) {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec())
	return func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady) }
}

// serviceWatch tells systemd's watchdog twice in its time that the program works, unless it
// does not, until ctx is done.
func serviceWatch(ctx context.Context, p pulse, log *slog.Logger) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog is not served: " + err.Error())
	}
	if limit == 0 || err != nil {
		return
	}
	ticker := time.NewTicker(limit / 2)
	defer ticker.Stop()
	for {
		patience, cancel := context.WithTimeout(ctx, limit/3)
		switch {
		case p.Responsive(patience):
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		case ctx.Err() == nil:
			log.Error("the gateway does not get on with its work: its watchdog is not told that it lives, and systemd will start it anew", "waited", limit/3)
		}
		cancel()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
