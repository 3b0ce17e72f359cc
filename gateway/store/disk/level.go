package disk

import "mqttsn-gateway/gateway/store"

// levels are the parts of the limits, in percent, from which a level holds; it is left
// 5 % below, so that it does not change with each record.
var levels = [...]int64{store.Warning: 70, store.Crowded: 80, store.Full: 90}

const hysteresis = 5

// setLevel sets the level. The caller holds mu.
func (s *Store) setLevel() {
	next := store.Normal
	for l, percent := range levels {
		if l := store.Level(l); l > store.Normal {
			if l <= s.quota {
				percent -= hysteresis
			}
			if s.bytes >= s.options.MaxBytes/100*percent || int64(s.records) >= int64(s.options.MaxRecords)/100*percent {
				next = l
			}
		}
	}
	s.quota = next
	if s.short {
		next = max(next, store.Full) // what is left is for those that delete
	}
	if s.failing {
		next = store.Degraded
	}
	if uint32(next) != s.level.Load() { // all shards read it
		s.level.Store(uint32(next))
	}
}
