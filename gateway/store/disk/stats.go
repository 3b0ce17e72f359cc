package disk

import (
	"time"

	"mqttsn-gateway/gateway/store"
)

// Stats is how a store is, and what it has done since it was opened.
type Stats struct {
	Records      int   // that exist
	LiveBytes    int64 // of these records, as MaxBytes counts them
	LogBytes     int64 // of all segments
	Segments     int
	Commits      uint64        // groups that became durable
	Operations   uint64        // in them
	BytesWritten uint64        // given to the file system
	BytesCleaned uint64        // of segments that were removed
	Syncs        uint64        // that succeeded
	SyncTime     time.Duration // of all these together
	SyncMax      time.Duration // of the longest
	Failures     uint64        // of the disk: each is logged
	Damages      []Damage      // that were found
	Level        store.Level
}

// Damage is what is wrong with a segment.
type Damage struct {
	File   string // as it is called now, or as soon as what it still has was copied: it is kept
	Offset int64  // where it starts, from the start of the file
	From   uint64 // the first group of changes that is missing; 0 if none is
	To     uint64 // the last one
}
