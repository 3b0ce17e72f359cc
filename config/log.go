package config

import (
	"fmt"
	"log/slog"
)

// The values of LogOptions.Format.
const (
	LogAuto = "auto"
	LogText = "text"
	LogJSON = "json"
)

// LogOptions are the settings of the log.
type LogOptions struct {
	// Level is the least important level that is written: "debug", "info", "warn" or
	// "error".
	Level string `mapstructure:"level"`

	// Format is "text", "json", or "auto" for text on a terminal and JSON otherwise.
	Format string `mapstructure:"format"`
}

// DefaultLogOptions are the settings of a log of which nothing else is said.
func DefaultLogOptions() LogOptions { return LogOptions{Level: "info", Format: LogAuto} }

// SlogLevel is the level as log/slog has it.
func (o LogOptions) SlogLevel() (slog.Level, bool) {
	level, ok := map[string]slog.Level{
		"debug": slog.LevelDebug,
		"info":  slog.LevelInfo,
		"warn":  slog.LevelWarn,
		"error": slog.LevelError,
	}[o.Level]
	return level, ok
}

// Validate reports the first setting that is not known.
func (o LogOptions) Validate() error {
	if _, ok := o.SlogLevel(); !ok {
		return fmt.Errorf("level: %q is not a level: debug, info, warn or error", o.Level)
	}
	if o.Format != LogAuto && o.Format != LogText && o.Format != LogJSON {
		return fmt.Errorf("format: %q is not a format: %s, %s or %s", o.Format, LogAuto, LogText, LogJSON)
	}
	return nil
}
