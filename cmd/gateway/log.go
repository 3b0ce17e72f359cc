package main

import (
	"log/slog"
	"os"

	"mqttsn-gateway/config"
)

// newLogger writes to f: text if that is a terminal, else JSON, unless the options say
// which.
func newLogger(f *os.File, o config.LogOptions) *slog.Logger {
	level, _ := o.SlogLevel() // the configuration is checked
	options := &slog.HandlerOptions{Level: level}
	if o.Format == config.LogText || o.Format == config.LogAuto && isTerminal(f) {
		return slog.New(slog.NewTextHandler(f, options))
	}
	return slog.New(slog.NewJSONHandler(f, options))
}
