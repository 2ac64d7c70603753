package blockstore

// crashMutant is a store, or a disk under it, that does something wrong.
type crashMutant struct {
	disk simMutant
}
