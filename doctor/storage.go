package doctor

import "fmt"

// dataDirectory looks at the file system below the data.
func dataDirectory(h Host, data string) Finding {
	const check = "file system of the data"
	kind, err := h.FileSystem(data)
	if err != nil {
		return lacks(Missing, check, err.Error(), "everything", "make "+data+", or name another directory with --data")
	}
	found := fmt.Sprintf("%s below %s", kind, data)
	switch kind {
	case "ext4", "xfs", "btrfs":
		return fine(check, found)
	case "tmpfs", "ramfs":
		return lacks(Warning, check, found, "data that outlives a reboot", "put the data on ext4 or XFS, with --data")
	}
	return lacks(Warning, check, found, "promises about power loss, which were tested on ext4 and XFS", "put the data on ext4 or XFS, with --data")
}

// sparseFiles are what the block store is made of.
func sparseFiles(h Host, data string) Finding {
	const check = "sparse files"
	if err := h.TrySparse(data); err != nil {
		return lacks(Missing, check, err.Error(), "the block store: it makes sparse files of 1 TiB and punches holes", "put the data on ext4 or XFS, with --data, where you may write")
	}
	return fine(check, "1 TiB, with holes")
}
