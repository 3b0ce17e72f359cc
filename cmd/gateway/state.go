package main

import (
	"fmt"
	"log/slog"

	"mqttsn-gateway/gateway/admin"
	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/gateway/store/disk"
)

// state is where the gateway keeps what has to survive it.
type state struct {
	store store.Store // nil: nothing survives
	disk  *disk.Store // the same
	text  string      // what the program says of it
}

// openState opens the state directory, if one is configured.
func openState(o disk.Options, log *slog.Logger) (*state, error) {
	if o.Dir == "" {
		return &state{text: "sessions and messages are kept in memory and end with this process; to keep them: --state DIR"}, nil
	}
	d, err := disk.Open(o, log)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return &state{store: d, disk: d, text: "sessions and messages are kept in " + o.Dir}, nil
}

func (s *state) close() error {
	if s.disk == nil {
		return nil
	}
	if err := s.disk.Close(); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

var stateTable = []metric[disk.Stats]{
	gauge("mqttsn_gateway_state_records", "Records in the state directory.", func(s disk.Stats) int { return s.Records }),
	gauge("mqttsn_gateway_state_bytes", "Octets of these records, as state.max_bytes counts them.", func(s disk.Stats) int { return int(s.LiveBytes) }),
	gauge("mqttsn_gateway_state_log_bytes", "Octets of the files in the state directory.", func(s disk.Stats) int { return int(s.LogBytes) }),
	gauge("mqttsn_gateway_state_level", "What the state directory can still take: 0 everything, 1 everything still, from 70 % of its limits on, 2 from 80 % on (new sessions are refused), 3 from 90 % on (new QoS 1 and 2 messages are refused), 4 nothing: the disk is full or has failed.", func(s disk.Stats) int { return int(s.Level) }),
	gauge("mqttsn_gateway_state_damages", "Damages that were found in the state directory at the start; the log names them.", func(s disk.Stats) int { return len(s.Damages) }),
	counter("mqttsn_gateway_state_commits_total", "Groups of changes that were written and synced.", func(s disk.Stats) uint64 { return s.Commits }),
	counter("mqttsn_gateway_state_changes_total", "Changes in these groups.", func(s disk.Stats) uint64 { return s.Operations }),
	counter("mqttsn_gateway_state_written_bytes_total", "Octets written to the state directory.", func(s disk.Stats) uint64 { return s.BytesWritten }),
	counter("mqttsn_gateway_state_syncs_total", "Syncs of the disk that succeeded.", func(s disk.Stats) uint64 { return s.Syncs }),
	counter("mqttsn_gateway_state_failures_total", "Failures of the disk; the log names them.", func(s disk.Stats) uint64 { return s.Failures }),
	{admin.Family{Name: "mqttsn_gateway_state_sync_seconds_total", Help: "Time that the syncs took.", Kind: admin.Counter}, func(s disk.Stats) float64 { return s.SyncTime.Seconds() }},
	{admin.Family{Name: "mqttsn_gateway_state_sync_seconds_max", Help: "Time that the longest sync took.", Kind: admin.Gauge}, func(s disk.Stats) float64 { return s.SyncMax.Seconds() }},
}

// metrics is what the state directory counts; nothing if there is none.
func (s *state) metrics() []admin.Source {
	if s.disk == nil {
		return nil
	}
	return []admin.Source{{
		Families: families(stateTable),
		Collect:  func(emit admin.Emit) { emitAll(stateTable, s.disk.Stats(), emit) },
	}}
}
