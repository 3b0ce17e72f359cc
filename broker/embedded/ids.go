package embedded

import "math/bits"

// idSet is a set of packet identifiers. It grows with its spread, to some 12 KiB for all
// of them. The nil set is empty and can only be read.
type idSet map[byte]*[4]uint64

func (s idSet) has(id uint16) bool {
	page := s[byte(id>>8)]
	return page != nil && page[id>>6&3]&(1<<(id&63)) != 0
}

// add reports whether the set takes another idPageCost octets now, and remove whether that
// much less.
func (s idSet) add(id uint16) (grown bool) {
	page := s[byte(id>>8)]
	if page == nil {
		page = new([4]uint64)
		s[byte(id>>8)] = page
		grown = true
	}
	page[id>>6&3] |= 1 << (id & 63)
	return grown
}

// each calls f for every identifier.
func (s idSet) each(f func(id uint16)) {
	for high, page := range s {
		for i, word := range page {
			for ; word != 0; word &= word - 1 {
				f(uint16(high)<<8 | uint16(i)<<6 | uint16(bits.TrailingZeros64(word)))
			}
		}
	}
}

func (s idSet) remove(id uint16) (shrunk bool) {
	page := s[byte(id>>8)]
	if page == nil {
		return false
	}
	page[id>>6&3] &^= 1 << (id & 63)
	if *page == [4]uint64{} {
		delete(s, byte(id>>8))
		return true
	}
	return false
}
