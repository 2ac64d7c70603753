// Package store keeps the resources of package model durably, in a Pebble
// database of its own.
//
// # Words
//
// An update is all that one cause changes: it becomes durable as a whole, with
// one synced batch, or not at all. An eTag names one state of one resource; it
// changes with each save, and who saves must have seen the last one. A cause
// is who did it, why, and by which task. The audit trail has an entry with the
// cause of each update, in order, and is never changed.
//
// # What always holds
//
//   - An Update that returned nil survives a kill and a power loss.
//   - A claim has one owner, and all that a record references exists: claims and
//     references are keys of the same batch as the record.
//   - Nobody reads what is not durable yet.
//   - Secrets are in a map of their own beside the record, which itself has
//     masks, as has everything that is shown. The audit trail names resources
//     and has no contents.
//   - A store of a newer format is refused and not changed.
//
// # When the disk fails
//
// Where Pebble would end the process, on which the disks of many servers hang,
// the store fails for good instead: each call returns ErrFailed until the
// store is opened again. Of the update that failed it is unknown until then
// whether it was done.
//
// # On disk
//
//	DIR/FORMAT   magic and format version, written last when a store is made
//	DIR/db/      Pebble; keys:
//
//	F                  format version, decimal
//	K                  32 random bytes, the key of digests
//	r URI              record: JSON {resource, secrets}
//	c CLAIM            URI of the owner
//	b TO 00 FROM       FROM references TO; empty
//	a sequence8        entry of the audit trail, JSON; big endian
//	j ID               record of the journal of tasks; its format is package task's
package store
