package daemon

import (
	"cmp"
	"slices"

	"goldstream/netboot"
)

// mostRanges bounds what is read of a volume to tell whether its boot files have changed.
const mostRanges = 2 << 30

// bootRange is a part of a volume that boot files came from, in bytes.
type bootRange struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// mergeRanges sorts ranges of a disk and joins those that touch: no byte is read twice.
func mergeRanges(list []bootRange, size int64) (merged []bootRange, err error) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b bootRange) int { return cmp.Compare(a.Offset, b.Offset) })
	total := int64(0)
	for _, r := range list {
		if r.Offset < 0 || r.Length < 0 || r.Length > size || r.Offset > size-r.Length {
			return nil, badBootFiles("a range lies behind the end of the volume")
		}
		if n := len(merged); n > 0 && r.Offset <= merged[n-1].Offset+merged[n-1].Length {
			last := &merged[n-1]
			longer := max(0, r.Offset+r.Length-last.Offset-last.Length)
			last.Length, total = last.Length+longer, total+longer
		} else {
			merged, total = append(merged, r), total+r.Length
		}
		if total > mostRanges {
			return nil, badBootFiles("they come from more than %d MiB of the volume", mostRanges>>20)
		}
	}
	return merged, nil
}

// checkModules refuses more than a segment takes.
func checkModules(list []manifestFile) error {
	left := int64(netboot.MostModules)
	for _, f := range list {
		if f.Size < 0 || f.Size > left {
			return badBootFiles("the modules are larger than %d MiB together", netboot.MostModules>>20)
		}
		left -= f.Size
	}
	return nil
}
