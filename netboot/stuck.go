package netboot

import (
	"time"

	"goldstream/netboot/initramfs"
)

// stuckAfter is how long a server may take from one stage to the next: disks that are
// checked and waits for a NIC's link are shorter.
const stuckAfter = 3 * time.Minute

// missing tells, for the last stage that was seen, what has not come, and where to look.
var missing = map[string]string{
	StageScript:              "it has not got its kernel: iPXE says on the console why it does not fetch it",
	StageKernel:              "it has not got its initrd: iPXE says on the console why it does not fetch it; there may be too little memory",
	StageInitrd:              "its initrd does not tell that it runs: the kernel has no driver for the NIC, gets no address by DHCP, or does not start: look at the console",
	initramfs.StageInitramfs: "its volume is not attached: it reaches HTTP here, and not NBD, or another one has the volume: the console and the log of goldstream tell",
	initramfs.StageAttached:  "its root file system is not mounted: is root= one of the volume's, and is it sound? The console tells",
}

// StuckAtDHCP tells of a server that was told where its boot is at a time, and has not
// come for its script since: "" while it may still do so.
func StuckAtDHCP(since, now time.Time) string {
	if now.Sub(since) < stuckAfter {
		return ""
	}
	return "it was told by DHCP where its boot is, and has not come for its script: it gets no iPXE by TFTP, or does not reach HTTP here: look at the console"
}

// Stuck tells where a boot stands still, "" if it does not: it has come to its root file
// system, or may still do so.
func (b *Boot) Stuck(now time.Time) string {
	if b.Problem != "" || b.Mode == ModeLocal || len(b.Stages) == 0 {
		return ""
	}
	last := b.Stages[len(b.Stages)-1]
	if now.Sub(last.Time) < stuckAfter {
		return ""
	}
	return missing[last.Name]
}
