// Package disk reads and changes partition tables: GPT and MBR, extended
// partitions too. It works on any io.ReaderAt of known size and knows nothing of
// volumes, images or file systems.
//
// # Words
//
// A table divides a disk into partitions. GPT keeps two copies of its header and
// of its array of entries, at the start and at the end of the disk; each has
// checksums. In front of it stands a protective MBR, whose only entry says that
// the disk is not free. MBR has four entries; one of them may be an extended
// partition, which holds logical ones, numbered from 5: a chain of sectors (EBR),
// each with one logical partition and a link to the next EBR.
//
// All positions in this package's API are bytes. Partitions have the numbers
// that Linux gives them: number 3 of /dev/sda is /dev/sda3.
//
// # Hazards
//
// The disk is not trusted. Whatever it holds, [Read] ends, allocates no more
// than a small bound and returns partitions that lie inside of the disk and do not
// overlap, or an error. So a table that Linux would accept with a grumble
// (partitions beyond the end, overlaps as on hybrid ISO images) is [ErrCorrupt]
// here: who changes a table must be sure what is where.
//
// GPT positions count sectors of 512 or 4096 bytes; the table says which by where
// it stands, and 512 is looked for first. MBR does not say: 512 is taken.
//
// # Changes
//
// [Table.Resize], [Table.Grow] and [Table.Renew] change the table in memory,
// [Table.Write] puts it on the disk such that a power loss leaves the old table or
// the new one. File systems grow by other means, afterwards.
//
// Sources: UEFI specification 2.10 section 5; Linux block/partitions/{efi,msdos}.c
// for numbering and what counts as a table.
package disk
