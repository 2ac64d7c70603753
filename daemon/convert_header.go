package daemon

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
)

// headerLen covers every header and the descriptors inside a VMDK as the
// usual programs place them, in bytes.
const headerLen = 64 << 10

const (
	doFlatten = "flatten it first: qemu-img convert -O qcow2 IMAGE FLAT.qcow2, where the other file is"
	doDecrypt = "decrypt it first with qemu-img convert"
)

// checkHeader refuses, with the name of what is missing, images that need a
// second file or a key. The jail would refuse them too, only less clearly.
func (c *converter) checkHeader(h []byte) error {
	switch c.format {
	case "qcow2":
		_, err := c.parseQcow2(h)
		return err
	case "qcow":
		return c.checkQcow(h)
	case "qed":
		return c.checkQED(h)
	case "vmdk":
		return c.checkVMDK(h)
	case "vpc":
		return c.checkVHD()
	case "vdi":
		return c.checkVDI(h)
	}
	return nil // vhdx: its metadata tables are qemu's to parse; it opens no parent
}

func (c *converter) short() error { return c.refuse("cut short in its header", fetchAgain, nil) }

// backing refuses an image that is only the difference to another file.
func (c *converter) backing(h []byte, off, length uint64) error {
	name := "?"
	if off < uint64(len(h)) {
		name = string(h[off:min(off+min(length, 1023), uint64(len(h)))])
	}
	return c.refuse("it names a backing file"+quote(name), doFlatten, nil)
}

// checkQcow reads version 1: backing file at 8, its name's length at 16,
// encryption at 36.
func (c *converter) checkQcow(h []byte) error {
	if len(h) < 48 {
		return c.short()
	}
	be := binary.BigEndian
	if off := be.Uint64(h[8:]); off != 0 {
		return c.backing(h, off, uint64(be.Uint32(h[16:])))
	}
	if be.Uint32(h[36:]) != 0 {
		return c.refuse("encrypted", doDecrypt, nil)
	}
	return nil
}

// checkQED: feature bits at 16, of which bit 0 means a backing file, whose
// name's place is at 56 and 60.
func (c *converter) checkQED(h []byte) error {
	if len(h) < 64 {
		return c.short()
	}
	le := binary.LittleEndian
	if le.Uint64(h[16:])&1 != 0 {
		return c.backing(h, uint64(le.Uint32(h[56:])), uint64(le.Uint32(h[60:])))
	}
	return nil
}

// checkVDI: the image type at 0x4c is 1 (dynamic), 2 (static), 4 (difference).
func (c *converter) checkVDI(h []byte) error {
	if len(h) < 0x200 {
		return c.short()
	}
	if t := binary.LittleEndian.Uint32(h[0x4c:]); t != 1 && t != 2 {
		return c.refuse(fmt.Sprintf("a VDI of type %d, which needs its parent image", t),
			"clone it in VirtualBox into a full image: VBoxManage clonemedium", nil)
	}
	return nil
}

const vhdFooter = 512

func (c *converter) hasVHDFooter() bool {
	footer, err := c.readUpTo(vhdFooter, max(0, c.size-vhdFooter))
	return err == nil && len(footer) == vhdFooter && bytes.HasPrefix(footer, []byte("conectix"))
}

// checkVHD: the footer ends the file; at 60 stands 2 (fixed), 3 (dynamic) or
// 4 (difference to a parent).
func (c *converter) checkVHD() error {
	if !c.hasVHDFooter() {
		return c.refuse("cut short: the footer that ends every VHD is missing", fetchAgain, nil)
	}
	footer, err := c.readUpTo(vhdFooter, c.size-vhdFooter)
	if err != nil {
		return err
	}
	if t := binary.BigEndian.Uint32(footer[60:]); t != 2 && t != 3 {
		return c.refuse("a differencing VHD, which needs its parent image", "merge it first: Merge-VHD, or export the machine", nil)
	}
	return nil
}

// checkVMDK looks at the text descriptor, which is the file itself or inside
// it: 12 capacity, 28 descriptor's place, 36 its length, in sectors (VMware's
// "Virtual Disk Format 5.0").
func (c *converter) checkVMDK(h []byte) error {
	if bytes.HasPrefix(h, []byte("# Disk DescriptorFile")) {
		return c.manyFiles(h)
	}
	if !bytes.HasPrefix(h, []byte("KDMV")) {
		return nil // COWD, of ESX servers: no descriptor
	}
	if len(h) < 512 {
		return c.short()
	}
	le := binary.LittleEndian
	const sector = 512
	off, n := le.Uint64(h[28:]), le.Uint64(h[36:])
	if off > uint64(c.size)/sector || n > 1<<11 {
		return c.refuse("its descriptor lies outside the file", fetchAgain, nil)
	}
	// qemu reads this much from there for the parent, whatever the length says.
	const parentLen = 20
	text, err := c.readUpTo(int(max(n, parentLen)*sector), int64(off*sector))
	if err != nil {
		return err
	}
	if le.Uint64(h[12:]) == 0 {
		return c.manyFiles(text)
	}
	return c.checkDescriptor(text)
}

func (c *converter) manyFiles(text []byte) error {
	what := "a descriptor, whose data is in other files"
	if names := extentNames(text); len(names) > 0 {
		what += quote(strings.Join(names, ", "))
	}
	return c.refuse(what, "make one file of them: qemu-img convert -O qcow2 IMAGE.vmdk ONE.qcow2", nil)
}

// checkDescriptor wants no parent and exactly one extent, sparse: the file.
func (c *converter) checkDescriptor(text []byte) error {
	parent := regexp.MustCompile(`(?mi)^\s*parentCID\s*=\s*([0-9a-f]+)`).FindSubmatch(text)
	// Anywhere: qemu looks for the word (strstr), not for a line.
	hint := regexp.MustCompile(`(?i)parentFileNameHint(?:\s*=\s*"?([^"\r\n\x00]*))?`).FindSubmatch(text)
	if hint != nil {
		return c.refuse("it names a parent image"+quote(string(hint[1])), doFlatten, nil)
	}
	if parent != nil && !strings.EqualFold(string(parent[1]), "ffffffff") {
		return c.refuse("it needs a parent image", doFlatten, nil)
	}
	if names := extentNames(text); len(names) > 1 || len(names) == 1 && !soleSparse(text) {
		return c.manyFiles(text)
	}
	return nil
}

func extentLines(text []byte) [][][]byte {
	line := regexp.MustCompile(`(?m)^\s*(?:RW|RDONLY|NOACCESS)\s+[0-9]+\s+([A-Z0-9]+)(?:\s+"([^"\r\n]*)")?`)
	return line.FindAllSubmatch(text, 256)
}

func extentNames(text []byte) (names []string) {
	for _, m := range extentLines(text) {
		names = append(names, string(m[2]))
	}
	return names
}

func soleSparse(text []byte) bool { return string(extentLines(text)[0][1]) == "SPARSE" }
