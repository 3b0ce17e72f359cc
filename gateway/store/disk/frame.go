package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"mqttsn-gateway/gateway/store"
)

const (
	// blockSize is what headers and frames start at a multiple of. So what was synced is
	// never written again, not even the rest of its block, which a disk that loses its
	// power while it writes may lose as a whole.
	blockSize = 4096
	// frameHead is CRC32C, length and sequence.
	frameHead = 4 + 4 + 8
)

// The kinds of operations in a frame.
const (
	kindPut    = 1
	kindDelete = 2
	sameClient = 4 // added to the kind: the client id is that of the operation before
)

// errFrame says that there is no whole frame.
var errFrame = errors.New("no valid frame")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is what was committed at once.
type frame struct {
	offset   int64 // in its segment
	sequence uint64
	ops      []byte
}

func (f frame) end() int64 { return f.offset + frameHead + int64(len(f.ops)) }

// next is where the frame after it starts.
func (f frame) next() int64 { return align(f.end()) }

// align is the start of the first block at or behind an offset.
func align(offset int64) int64 { return (offset + blockSize - 1) &^ (blockSize - 1) }

// seed is what the checksums of a segment start with. The salt is known to nobody
// outside, so no payload can look like a frame, and a frame holds in one segment only.
func seed(salt, segment uint64) uint32 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], salt)
	binary.LittleEndian.PutUint64(b[8:], segment)
	return crc32.Checksum(b[:], castagnoli)
}

// place is where the value of an operation stands in a frame.
type place struct{ offset, length int }

// appendOps appends what follows the head of a frame, and to places where the values are.
// The frame starts at b[0].
func appendOps(b []byte, ops []store.Op, places []place) ([]byte, []place) {
	client := ""
	for i, op := range ops {
		kind := byte(kindPut)
		if op.Value == nil {
			kind = kindDelete
		}
		if i > 0 && op.Key.Client == client {
			b = append(b, kind|sameClient, byte(op.Key.Space))
		} else {
			b = append(b, kind, byte(op.Key.Space))
			b = store.AppendString(b, op.Key.Client)
		}
		client = op.Key.Client
		b = binary.AppendUvarint(b, op.Key.Number)
		if op.Value != nil {
			b = store.AppendBytes(b, op.Value)
		}
		places = append(places, place{len(b) - len(op.Value), len(op.Value)})
	}
	return b, places
}

// sealFrame fills in the head of a frame.
func sealFrame(b []byte, sequence uint64, seed uint32) {
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-frameHead))
	binary.LittleEndian.PutUint64(b[8:], sequence)
	binary.LittleEndian.PutUint32(b, crc32.Update(seed, castagnoli, b[4:]))
}

// validFrame reports whether b is a frame from the first to the last octet.
func validFrame(b []byte, seed uint32) bool {
	return len(b) > frameHead && uint64(len(b)-frameHead) == uint64(binary.LittleEndian.Uint32(b[4:])) &&
		crc32.Update(seed, castagnoli, b[4:]) == binary.LittleEndian.Uint32(b)
}

// decoded is an operation of a frame, and where its value stands from the frame's start.
// The value is part of the frame.
type decoded struct {
	store.Op
	offset int
}

// decodeOps appends the operations of a frame to list. intern makes strings of client ids.
func decodeOps(list []decoded, ops []byte, intern func([]byte) string) ([]decoded, error) {
	rest, client, ok := ops, "", true
	number := func() uint64 {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			ok, n, size = false, 0, len(rest)
		}
		rest = rest[size:]
		return n
	}
	octets := func() []byte {
		n := number()
		if n > uint64(len(rest)) {
			ok, n = false, 0
		}
		b := rest[:n:n]
		rest = rest[n:]
		return b
	}
	for first := true; len(rest) > 0; first = false {
		if len(rest) < 2 {
			return list, errFrame
		}
		kind, space := rest[0], store.Space(rest[1])
		rest = rest[2:]
		if kind&sameClient == 0 {
			client = intern(octets())
		}
		d := decoded{Op: store.Op{Key: store.Key{Space: space, Client: client, Number: number()}}}
		kind, same := kind&^sameClient, kind&sameClient != 0
		if kind == kindPut {
			d.Value = octets()
			d.offset = frameHead + len(ops) - len(rest) - len(d.Value)
		}
		if !ok || kind != kindPut && kind != kindDelete || same && first {
			return list, errFrame
		}
		list = append(list, d)
	}
	return list, nil
}
