package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// To change the format: raise formatVersion and set formatRelease to the first release that
// reads it, keep reading the form before, and add a directory of the new form to testdata.
const (
	formatVersion = 1
	formatRelease = "0.1.0"
)

// Names of files.
const (
	formatFile   = "FORMAT"
	formatNew    = "FORMAT.new"
	lockFile     = "LOCK"
	reserveFile  = "reserve"
	logSuffix    = ".log"
	keptSuffix   = ".damaged" // what is damaged is kept under its name and this
	segmentMagic = "SNGWLOG\n"
)

// segmentName is the name of a segment's file: its number in hexadecimal.
func segmentName(number uint64) string { return fmt.Sprintf("%016x%s", number, logSuffix) }

// segmentNumber is the number in a name, with or without keptSuffix; 0 if it is not one.
func segmentNumber(name string) (number uint64, kept bool) {
	name, kept = strings.CutSuffix(name, keptSuffix)
	if _, err := fmt.Sscanf(name, "%016x", &number); err != nil || segmentName(number) != name {
		return 0, false
	}
	return number, kept
}

// errVersion says that a file is of a later format.
var errVersion = errors.New("unknown format")

// format is the content of the file FORMAT, of which each later version keeps the first
// two lines and the last one.
type format struct{ salt uint64 }

func (f format) encode() []byte {
	text := fmt.Appendf(nil, "mqttsn-gateway state, format %d\nread by release %s and later\nsalt %016x\n", formatVersion, formatRelease, f.salt)
	return fmt.Appendf(text, "check %08x\n", crc32.Checksum(text, castagnoli))
}

// decodeFormat reads it. The error is errVersion with what the operator has to know, or
// that it is damaged.
func decodeFormat(text []byte) (f format, err error) {
	damaged := errors.New("the file " + formatFile + " is damaged")
	head := bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n') + 1
	var check uint32
	if _, err := fmt.Sscanf(string(text[head:]), "check %08x\n", &check); err != nil || check != crc32.Checksum(text[:head], castagnoli) {
		return f, damaged
	}
	var version int
	var release string
	if _, err := fmt.Sscanf(string(text), "mqttsn-gateway state, format %d\nread by release %s and later\n", &version, &release); err != nil {
		return f, damaged
	}
	if version != formatVersion {
		return f, fmt.Errorf("%w: the state is of format %d, and this release reads format %d: use release %s or later", errVersion, version, formatVersion, release)
	}
	_, _ = fmt.Sscanf(string(text), "mqttsn-gateway state, format %d\nread by release %s and later\nsalt %016x\n", &version, &release, &f.salt)
	if !bytes.Equal(text, f.encode()) {
		return format{}, damaged
	}
	return f, nil
}

// header is the first block of a segment.
type header struct {
	number   uint64 // of this segment
	salt     uint64 // as in FORMAT
	sequence uint64 // of the first frame that was to come
	previous uint64 // number of the segment before; 0 if there was none
	end      int64  // of the valid part of that one
}

// headerSize is how much of the first block is used.
const headerSize = 8 + 4 + 5*8 + 4

func (h header) encode() []byte {
	b := append(make([]byte, 0, headerSize), segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	for _, v := range []uint64{h.number, h.salt, h.sequence, h.previous, uint64(h.end)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeHeader reads the header of the segment with that number. The error is errVersion,
// or errFrame if it is damaged.
func decodeHeader(b []byte, number uint64) (header, error) {
	if len(b) < headerSize || string(b[:8]) != segmentMagic || crc32.Checksum(b[:headerSize-4], castagnoli) != binary.LittleEndian.Uint32(b[headerSize-4:]) {
		return header{}, errFrame
	}
	if version := binary.LittleEndian.Uint32(b[8:]); version != formatVersion {
		return header{}, fmt.Errorf("%w: segment %s is of format %d, and this release reads format %d", errVersion, segmentName(number), version, formatVersion)
	}
	var v [5]uint64
	for i := range v {
		v[i] = binary.LittleEndian.Uint64(b[12+8*i:])
	}
	h := header{number: v[0], salt: v[1], sequence: v[2], previous: v[3], end: int64(v[4])}
	if h.number != number || h.previous >= number || h.end < 0 {
		return header{}, errFrame
	}
	return h, nil
}
