package doctor

// converters read the formats of images that goldstream does not read itself.
func converters(h Host) Finding {
	const check = "qemu-nbd"
	for _, name := range []string{"qemu-nbd", "qemu-img"} {
		if _, err := h.Program(name); err != nil {
			return lacks(Missing, check, name+" is not installed", "importing qcow2, vmdk, vhdx, vdi, vhd and qed images", "install the package qemu-utils")
		}
	}
	path, _ := h.Program("qemu-nbd")
	return fine(check, path)
}
