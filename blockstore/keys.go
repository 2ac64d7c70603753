package blockstore

import (
	"encoding/binary"
	"fmt"
)

// Keys of the metadata. Numbers are big endian so that order is theirs.
//
//	S                                    store commit sequence, 8 bytes LE
//	i NAME                               golden image, JSON (imageRecord)
//	v NAME                               OS volume, JSON (volumeRecord)
//	s ID NAME                            snapshot of the volume ID (32 hex digits), JSON (snapshotRecord)
//	x ID                                 retired volume, JSON (retiredRecord)
//	l lineage8                           lineage, JSON (lineageRecord)
//	e lineage8 version4                  version of a lineage, JSON (versionRecord)
//	m lineage8 region4 ^version4         map record (record.go), merged
//	t lineage8 version4 region4          region touched by version, empty
//	h lineage8 version4 region4          SHA-256 of a region of a sealed version (digest.go)
//	f lineage8                           last committed intent, 8 bytes LE
//	o lineage8                           open for write, JSON (openMark)
//	b lineage8 [region4]                 failed sync, and what it may have lost (failure.go)
//	r REQUEST                            result of a request id, JSON
//
// The version is stored inverted, so that a seek to (region, version) finds
// the newest record that is not newer than version.
const (
	prefixImage    = 'i'
	prefixVolume   = 'v'
	prefixSnapshot = 's'
	prefixRetired  = 'x'
	prefixLineage  = 'l'
	prefixVersion  = 'e'
	prefixMap      = 'm'
	prefixTouched  = 't'
	prefixHash     = 'h'
	prefixFlushed  = 'f'
	prefixOpen     = 'o'
	prefixFailed   = 'b'
	prefixRequest  = 'r'
)

var sequenceKey = []byte("S")

func nameKey(prefix byte, name string) []byte {
	return append([]byte{prefix}, name...)
}

func lineageKey(prefix byte, lineage uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, lineage)
}

func mapKey(lineage uint64, region, version uint32) []byte {
	k := make([]byte, 0, 17)
	k = append(k, prefixMap)
	k = binary.BigEndian.AppendUint64(k, lineage)
	k = binary.BigEndian.AppendUint32(k, region)
	return binary.BigEndian.AppendUint32(k, ^version)
}

// parseMapKey is the inverse of mapKey.
func parseMapKey(k []byte) (lineage uint64, region, version uint32, err error) {
	if len(k) != 17 || k[0] != prefixMap {
		return 0, 0, 0, fmt.Errorf("map key %x: %w", k, ErrCorrupt)
	}
	return binary.BigEndian.Uint64(k[1:]), binary.BigEndian.Uint32(k[9:]), ^binary.BigEndian.Uint32(k[13:]), nil
}

// versionKey makes the t and h keys.
func versionKey(prefix byte, id layerID, region uint32) []byte {
	k := make([]byte, 0, 17)
	k = append(k, prefix)
	k = binary.BigEndian.AppendUint64(k, id.lineage)
	k = binary.BigEndian.AppendUint32(k, id.version)
	return binary.BigEndian.AppendUint32(k, region)
}

// versionRegion returns the region of a t or h key.
func versionRegion(k []byte) uint32 { return binary.BigEndian.Uint32(k[13:]) }

// lineageSpan returns the bounds of all keys of a prefix that belong to lineage.
func lineageSpan(prefix byte, lineage uint64) (lower, upper []byte) {
	lower = lineageKey(prefix, lineage)
	if lineage == ^uint64(0) {
		return lower, []byte{prefix + 1}
	}
	return lower, lineageKey(prefix, lineage+1)
}

// versionSpan returns the bounds of the t or h keys of one version.
func versionSpan(prefix byte, id layerID) (lower, upper []byte) {
	lower = versionKey(prefix, id, 0)
	return lower, versionKey(prefix, layerID{id.lineage, id.version + 1}, 0)
}
