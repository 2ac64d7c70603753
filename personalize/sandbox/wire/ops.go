package wire

// Op is what a Request asks for: its Code. The comment names the args, then,
// after the arrow, the args of the Result after its text, or the rows of the Data
// that comes before it: fields, each with a NUL behind it. Paths are absolute, in
// the disk's own tree. Numbers are decimal, modes octal, switches "1" or "".
type Op uint16

// The operations.
const (
	OpPowerOff    Op = 1 + iota // -> nothing; unmounts, and ends the kernel
	OpEcho                      // any; Data -> the args; the Data
	OpDevices                   // -> rows: path, bytes; the disk, then its partitions
	OpFilesystems               // -> rows: device, type, label, uuid, bytes
	OpMount                     // device, directory, mode (rw, ro, peek), options -> type
	OpUnmount                   // directory or device
	OpUnmountAll                // -> nothing
	OpMounts                    // -> rows: device, directory, type
	OpGrow                      // directory of a mount -> bytes before, bytes after
	OpLVM                       // program of LVM, its args -> Data: its output

	OpRead      // path, offset, most bytes ("": all) -> Data
	OpWrite     // path, how (replace, append), mode of a new file; Data -> nothing
	OpTouch     // path
	OpTruncate  // path, bytes
	OpMkdir     // path, with parents, mode
	OpRemove    // path, recursive, force
	OpRename    // from, to
	OpCopy      // from, to, how ("": one file's content; tree: recursive; all: and keeps owners, times, xattrs)
	OpLink      // target, path, symbolic, force
	OpReadlink  // path -> target
	OpChmod     // mode, path
	OpChown     // uid, gid, path, of the link itself
	OpStat      // path, of the link itself -> see StatFields
	OpList      // directory -> rows: name, type
	OpWalk      // directory -> rows: path below it, type; parents first
	OpGlob      // pattern -> rows: path
	OpStatFS    // path -> type, block size, blocks, free, available, files, free files, longest name
	OpGetXattr  // path, name -> value
	OpSetXattr  // path, name, value
	OpListXattr // path -> rows: name
	OpRun       // working directory, program, its args -> Data: its output; exit status, signal
	OpExtents   // path -> rows: offset on the disk, bytes
	OpUsage     // path -> KiB of it and all below
	OpParts     // -> rows: number, start, bytes; kind of the table (gpt, msdos, "")
	OpScript    // working directory, text for the shell, NAME=value…; Data: its input -> Data: its output; exit status, signal

	OpGrowPartition // /dev/sdaN -> bytes before, bytes after
)

// StatFields are the args of OpStat's Result: type, mode, uid, gid, bytes, links,
// modification time in ns, inode, device; of a device node, block size, blocks of 512
// bytes, access time and change time in ns.
const StatFields = 14

// Types of directory entries and of OpStat.
const (
	TypeFile      = "file"
	TypeDirectory = "directory"
	TypeLink      = "link"
	TypeOther     = "other"
)

var names = map[Op]string{
	OpPowerOff: "power-off", OpEcho: "echo", OpDevices: "list-devices", OpFilesystems: "list-filesystems",
	OpMount: "mount", OpUnmount: "umount", OpUnmountAll: "umount-all", OpMounts: "mounts", OpGrow: "grow", OpLVM: "lvm",
	OpRead: "read", OpWrite: "write", OpTouch: "touch", OpTruncate: "truncate", OpMkdir: "mkdir", OpRemove: "rm",
	OpRename: "mv", OpCopy: "cp", OpLink: "ln", OpReadlink: "readlink", OpChmod: "chmod", OpChown: "chown", OpStat: "stat",
	OpList: "ls", OpWalk: "find", OpGlob: "glob", OpStatFS: "statvfs", OpGetXattr: "getxattr", OpSetXattr: "setxattr",
	OpListXattr: "listxattr", OpRun: "command",
	OpExtents: "extents", OpScript: "script", OpGrowPartition: "grow-partition", OpUsage: "du", OpParts: "part-list",
}

// String is the op's name in error messages.
func (o Op) String() string {
	if name, ok := names[o]; ok {
		return name
	}
	return "unknown operation"
}
