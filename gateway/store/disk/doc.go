// Package disk is a store.Store on disk: a log of what was changed, and an index of it in
// memory. Values stay on the disk and are read from there.
//
// # How it works
//
// [Store.Apply] puts changes into the open group, which has the last change of each key: what
// is made and deleted within one group is never written. One goroutine takes the group,
// writes it as one frame to the end of the log and syncs it; meanwhile the next group
// gathers. A group is durable in whole or not at all. Memory is taken by the names of the
// records, and by what is not durable yet.
//
// # Files
//
//	FORMAT                  text: the version of the format, who reads it, the salt
//	LOCK                    locked by the process that uses the directory
//	000000000000002a.log    a segment of the log; the number is hexadecimal
//	reserve                 takes the space of a segment, to be given up on a full disk
//	*.damaged               what was damaged; it is kept for the operator, and not read
//
// A segment starts with a header of 56 octets. Numbers are little endian:
//
//	8  "SNGWLOG\n"
//	4  version of the format: 1
//	8  number of the segment
//	8  salt
//	8  sequence of the first frame that was to come
//	8  number of the segment before; 0: there was none
//	8  length of the valid part of that segment
//	4  CRC32C of all that
//
// Frames follow, each at the next multiple of 4096, and zeros between them:
//
//	4  CRC32C of salt and number of the segment (16 octets), and of all that follows
//	4  length of the operations
//	8  sequence: one more than that of the frame before
//	n  operations
//
// An operation is a kind (1: put, 2: delete; plus 4: the client id is that of the operation
// before), a space, the client id (with its length, unless left out), the number, and for a
// put the value with its length. Lengths and the number are unsigned varints.
//
// # What holds
//
//   - Header and name of a segment are durable before a frame is written to it, and a frame
//     is before the next one is. Synced octets are never written again, nor is the rest of
//     their block.
//   - The end of the log is in the last segment, where no valid frame follows. Where another
//     segment ends says the header of the next one: what is behind it does not count. Before
//     it nothing may be wrong.
//   - After a write or sync has failed that segment is not written or synced again. What is
//     in it stays valid up to the last frame that was synced; the frame goes into a new one
//     with the same sequence.
//   - So the last frame of the log, and no other, may not be durable though it can be read.
//     The start writes it again, to a new segment with the same sequence; where it stood
//     it still counts, but need not be whole.
//   - A segment is removed only when it is the oldest one and none of its records is needed:
//     those that are were written to the end of the log again. Then its deletions have
//     nothing left to delete. The directory is synced before the next one is removed.
//
// # Damage
//
// A frame that is not valid and not the end is skipped; what follows it is found by its
// checksum, which nobody can forge without the salt. What is missing is known by the
// sequences, logged, and kept in [Stats]. All segments up to the damaged one are cleaned,
// and instead of being removed the file gets the suffix .damaged. What a lost frame had
// deleted or replaced may come back.
package disk
