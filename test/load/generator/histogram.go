//go:build linux

package generator

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets 1/16 of a power of two wide: a percentile is at
// most 6 % off.
type histogram struct {
	buckets [64 * 16]uint32
	n       uint64
}

func (h *histogram) add(d time.Duration) {
	h.buckets[bucketOf(d)]++
	h.n++
}

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 16 {
		return int(v)
	}
	shift := bits.Len64(v) - 5 // v>>shift is 16 to 31
	return shift*16 + int(v>>shift)
}

// percentile is the duration that the given share of all does not exceed.
func (h *histogram) percentile(share float64) time.Duration {
	left := uint64(share * float64(h.n))
	for i, n := range h.buckets {
		if uint64(n) > left {
			if i < 16 {
				return time.Duration(i)
			}
			shift := i/16 - 1
			return time.Duration(uint64(i-shift*16) << shift)
		}
		left -= uint64(n)
	}
	return 0
}
