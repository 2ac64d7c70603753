package sandbox

import (
	"fmt"

	"goldstream/jail"
	"goldstream/personalize/sandbox/guest"
)

// Paths in the jail. They are constant: the kernel splits its arguments at commas
// and colons, and no name of a volume may come that far.
const (
	diskPath = "/disk"
	toolPath = "/tools"
	workDir  = "/run" // HOME and uml_dir: the kernel spins without
	memDir   = "/mem" // its memory is a file here
	umid     = "cell"
)

func jailSpec(cfg Config) jail.Spec {
	return jail.Spec{
		Path:  cfg.Tools.UML,
		Args:  kernelArgs(cfg),
		Env:   []string{"HOME=" + workDir, "TMPDIR=" + memDir},
		Dir:   workDir,
		Binds: binds(cfg),
		Tmpfs: []jail.Tmpfs{
			{Target: memDir, Size: cfg.Memory + cfg.Memory/4, Exec: true},
			{Target: workDir, Size: 1 << 20},
		},
		Proc:    true, // it reads the processor's features there
		Profile: jail.UserModeLinux(!cfg.Tools.NarrowState),
		Limits: jail.Limits{
			// Each process of the guest is one of the host.
			Processes: 256,
			Memory:    uint64(cfg.Memory + cfg.Memory/4 + 64<<20),
		},
	}
}

func binds(cfg Config) []jail.Bind {
	list := append([]jail.Bind(nil), cfg.Tools.Binds...)
	list = append(list, jail.Bind{Host: cfg.Tools.Image, Target: toolPath})
	if cfg.Disk != "" {
		list = append(list, jail.Bind{Host: cfg.Disk, Mount: cfg.DiskMount, Target: diskPath, Writable: !cfg.ReadOnly, AsOwner: true})
	}
	return list
}

// kernelArgs boots from the tool root as ubd0. The disk is always ubd1, with d for
// no copy-on-write header and t for no discard, which is very slow.
func kernelArgs(cfg Config) []string {
	args := []string{
		fmt.Sprintf("mem=%dM", cfg.Memory>>20),
		"ubd0drt=" + toolPath, "root=/dev/ubda", "rootfstype=ext4", "ro", "init=" + guest.Path,
		"ssl0=fd:3,fd:4", "ssl=null", "con0=null,fd:1", "con=null", "pty.legacy_count=0",
		"umid=" + umid, "uml_dir=" + workDir, "hostfs=/nowhere", "selinux=0", "quiet", "panic=-1",
		guestDebug,
	}
	if cfg.Disk != "" && !cfg.AttachLater {
		args = append(args, diskArg(cfg.ReadOnly))
	}
	return args
}

// guestDebug keeps the guest from the registers that NarrowState loses; the kernel
// hands down what it does not know as environment of init.
const guestDebug = "GODEBUG=cpu.avx=off,cpu.avx2=off,cpu.fma=off,cpu.avx512f=off,cpu.avx512cd=off,cpu.avx512bw=off,cpu.avx512dq=off,cpu.avx512vl=off"

func diskArg(readOnly bool) string {
	if readOnly {
		return "ubd1drt=" + diskPath
	}
	return "ubd1dt=" + diskPath
}
