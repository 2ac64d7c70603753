// Package blockstore is the copy-on-write store of golden images and OS
// volumes: data in sparse files, extent maps in Pebble, so that a clone costs
// one small commit whatever the size of the disk.
//
// # Words
//
// A disk is cut into blocks of 4 KiB and regions of 16 MiB. A layer is a part
// of a disk: sparse segment files in which a block stands at the offset that
// it has in the disk, and map records that say which blocks the layer names.
// A block of a layer is data (the layer's file holds it), zero, or unnamed
// (it falls through to the layer below). A layer is writable or sealed; what
// a sealed layer reads as never changes.
//
// The layers of one volume form a lineage and are numbered by version. A seal
// raises the version; a clone starts a new lineage whose parent is (lineage,
// version). A golden image is a name for a sealed version, a snapshot one that
// belongs to a volume. An OS volume is a name for a lineage, whose highest
// version (the tip) is writable; a rollback moves it to a new lineage.
//
// A version is needed while it has a name, a lineage branches from it, it is
// open, or it is the tip of a volume. With its last name it is doomed, and when
// it is not needed any more, absorbed by the version after it.
//
// # Two crashes, two promises
//
// A process kill loses nothing that was acknowledged: every write is in the
// kernel's page cache when it returns, and the change of the map is in the
// volume's intent ring (ring.go), a small shared mapping from which the next
// open rebuilds the map. A power loss loses nothing that was flushed: a
// commit (commit.go) syncs the data first and the map after it.
//
// # Who locks what
//
//	volumeEntry.mu  opening and closing the volume
//	rangeLock       blocks of one write, trim or zeroing
//	committer       one commit, seal or growth of a volume at a time
//	volume.gate     shared by every write from map lookup to dirty mark;
//	                exclusive for the instant in which a commit or a seal
//	                takes the dirty set
//	catalogue.mu    names, lineages, versions; never held over a commit
//	ownPage.mu      the uncommitted set of one region
//
// They are taken in this order; top.mu, views, layers and space.mu are taken
// last. Reads take no lock (read.go), and a write that waits for room holds none.
//
// # Where to find what
//
//	keys.go record.go merge.go   the format of the metadata
//	page.go view.go own.go       extent maps in memory
//	pagecache.go                 how much memory they take, all together
//	file.go layer.go             files, and handles counted so that no
//	                             descriptor is closed under its user
//	store.go catalogue.go        opening, names
//	catalogueload.go catalogueinfo.go
//	                             names out of the metadata, and what is told of them
//	version.go clone.go          versions and what holds them; clones, deletes
//	snapshot.go rollback.go      snapshots, and back to them
//	retire.go retention.go       deleted volumes that come back, old snapshots
//	read.go write.go zero.go     the data's way
//	step.go                      what a kill leaves of a write that it cuts off
//	borrow.go splice.go          files lent to system calls that do not copy
//	space.go stall.go quota.go   room on the host's disk, and waiting for it
//	ballast.go metafs.go         metadata on a full disk
//	admit.go fullness.go         watermarks, and how full the store is
//	stats.go                     what the store did and holds
//	usage.go                     what each disk takes and shares
//	ring.go recover.go           the intent ring and what a kill leaves
//	mapfault.go                  a page of a mapped file that is gone
//	commit.go seal.go            one committer for each volume
//	metacommit.go logahead.go    one for the metadata of all, and its log
//	unsynced.go failure.go       what a failed sync may have lost
//	accept.go epoch.go           going on after a loss, and who may
//	checkpoint.go restore.go     copies of the metadata, and back to one
//	restoreplan.go               a restore that was cut off is finished
//	dump.go dumpline.go          the metadata as lines of JSON
//	dumpread.go restoredump.go   and back from them
//	storeid.go                   which store a dump is of
//	readonly.go                  reading a store that is damaged or full
//	offline.go accepttail.go     work on a store that nobody has open
//	check.go checkrecords.go checkmaps.go checkfiles.go
//	                             whether records and files agree
//	instant.go                   the metadata at one instant, of a store in service:
//	checklive.go dumplive.go     to check it, and to dump it
//	reclaim.go absorb.go         giving back what nothing needs
//	reclaimorder.go freestep.go  and what of it first, and how much at a time
//	pacer.go                     one budget for I/O in the background
//	digest.go keeper.go          checksums and content ids, also of captures
//	verify.go direct.go          reading past the page cache, and comparing
//	scrub.go scrubwalk.go        the same for all sealed data
//	repair.go repaircompare.go   writing anew what has the right checksum
//	import.go strays.go missing.go
package blockstore
