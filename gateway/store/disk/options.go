package disk

import (
	"fmt"
	"time"
)

// Options are the settings of the store.
type Options struct {
	// Dir is the directory that the state is kept in, so that nothing acknowledged is lost
	// when the gateway ends, however it ends: sessions, queues, retained messages, and what
	// the broker has not taken yet. Default: none, then all of that ends with the gateway.
	// The flag --state DIR sets it. It is made if it is missing; nobody but the gateway's
	// user may have access to it (mode 0700), and only one gateway at a time uses it.
	Dir string `mapstructure:"dir"`

	// SyncInterval is the least time between two commits, 0 to 1s. Default 1ms. A change
	// that comes alone is committed at once, those that come within the interval together.
	// More costs that much time before an acknowledgement under load, and saves writes:
	// 20ms suits an SD card.
	SyncInterval time.Duration `mapstructure:"sync_interval"`

	// MaxBytes is how many octets of records are kept, with 64 more for each record, 1048576
	// to 1099511627776. Default 1073741824. From 70 % of it on the log warns,
	// from 80 % on new sessions are refused, from 90 % on new messages with QoS 1 and 2. The
	// disk needs twice as much and 64 MiB, and memory for the names of the records.
	MaxBytes int64 `mapstructure:"max_bytes"`

	// MaxRecords is how many records are kept, 1000 to 100000000: each message, topic id,
	// subscription and session is one or more. Default 5000000. The same happens on the way
	// to it. Each costs some 150 octets of memory.
	MaxRecords int `mapstructure:"max_records"`

	// SegmentSize is the size of the files in octets, 65536 to 1073741824. Default 4194304.
	// More means fewer files, and more space that is taken from the start: two files.
	SegmentSize int `mapstructure:"segment_size"`
}

// DefaultOptions returns the defaults that the fields of Options name.
func DefaultOptions() Options {
	return Options{
		SyncInterval: time.Millisecond,
		MaxBytes:     1 << 30,
		MaxRecords:   5_000_000,
		SegmentSize:  4 << 20,
	}
}

// Validate reports the first setting that cannot work: its key, its value and what is
// allowed. The directory is not looked at.
func (o Options) Validate() error {
	if o.SyncInterval < 0 || o.SyncInterval > time.Second {
		return fmt.Errorf("sync_interval: %v is out of range: 0s to 1s", o.SyncInterval)
	}
	for _, r := range []struct {
		key             string
		value, min, max int64
	}{
		{"max_bytes", o.MaxBytes, 1 << 20, 1 << 40},
		{"max_records", int64(o.MaxRecords), 1000, 100_000_000},
		{"segment_size", int64(o.SegmentSize), minSegment, 1 << 30},
	} {
		if r.value < r.min || r.value > r.max {
			return fmt.Errorf("%s: %d is out of range: %d to %d", r.key, r.value, r.min, r.max)
		}
	}
	return nil
}
