package guest

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"goldstream/personalize/sandbox/wire"
)

// Path is where the tool root has this program: the kernel's init=.
const Path = "/init"

const (
	linePath = "/dev/ttyS0"
	diskName = "ubdb" // ubd1: ubd0 is the tool root
)

// IsInit tells whether the process is init of a disk cell.
func IsInit() bool { return os.Getpid() == 1 && len(os.Args) > 0 && os.Args[0] == Path }

// Main serves the host until it is told to power off. It does not return: where
// something breaks, the kernel ends, and the host sees why on the console.
func Main() {
	fmt.Fprintln(os.Stderr, "goldstream-guest:", run())
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	os.Exit(1)
}

// run serves until the line ends, and says why it did.
func run() error {
	if err := mountOwn(); err != nil {
		return err
	}
	l, err := openLine(linePath)
	if err != nil {
		return err
	}
	if err := loadModules(modulesDir); err != nil {
		return err
	}
	events, err := openEvents()
	if err != nil {
		return err
	}
	there := diskPresent() // before Hello: afterwards the host may be attaching it
	if err := l.send(wire.Hello, wire.Last, wire.Number(wire.Version)); err != nil {
		return err
	}
	go func() {
		if err := announceDisk(l, events, there); err != nil {
			fmt.Fprintln(os.Stderr, "goldstream-guest:", err)
		}
	}()
	m := &mounts{tree: tree{root: diskRoot}}
	s := &server{l: l, commands: commands(m)}
	s.commands[wire.OpPowerOff] = command{run: powerOff(l, m)}
	return s.serve()
}

// commands is what the host can ask for.
func commands(m *mounts) map[wire.Op]command {
	t := m.tree
	return map[wire.Op]command{
		wire.OpEcho:        {args: anyArgs, input: true, run: echo},
		wire.OpDevices:     {run: devices},
		wire.OpFilesystems: {run: m.filesystems},
		wire.OpMount:       {args: 4, run: m.mount},
		wire.OpUnmount:     {args: 1, run: m.unmount},
		wire.OpUnmountAll:  {run: m.unmountAll},
		wire.OpMounts:      {run: m.show},
		wire.OpGrow:        {args: 1, run: m.grow},
		wire.OpLVM:         {args: anyArgs, run: m.lvm},
		wire.OpRead:        {args: 3, run: m.mounted(t.read)},
		wire.OpWrite:       {args: 3, input: true, run: m.mounted(t.write)},
		wire.OpTouch:       {args: 1, run: m.mounted(t.touch)},
		wire.OpTruncate:    {args: 2, run: m.mounted(t.truncate)},
		wire.OpMkdir:       {args: 3, run: m.mounted(t.mkdir)},
		wire.OpRemove:      {args: 3, run: m.mounted(t.remove)},
		wire.OpRename:      {args: 2, run: m.mounted(t.rename)},
		wire.OpCopy:        {args: 3, run: m.mounted(t.copy)},
		wire.OpLink:        {args: 4, run: m.mounted(t.link)},
		wire.OpReadlink:    {args: 1, run: m.mounted(t.readlink)},
		wire.OpChmod:       {args: 2, run: m.mounted(t.chmod)},
		wire.OpChown:       {args: 4, run: m.mounted(t.chown)},
		wire.OpStat:        {args: 2, run: m.mounted(t.stat)},
		wire.OpList:        {args: 1, run: m.mounted(t.list)},
		wire.OpWalk:        {args: 1, run: m.mounted(t.walk)},
		wire.OpUsage:       {args: 1, run: m.mounted(t.usage)},
		wire.OpParts:       {run: partitions},
		wire.OpGlob:        {args: 1, run: m.mounted(t.glob)},
		wire.OpStatFS:      {args: 1, run: m.mounted(t.statFS)},
		wire.OpGetXattr:    {args: 2, run: m.mounted(t.getXattr)},
		wire.OpSetXattr:    {args: 3, run: m.mounted(t.setXattr)},
		wire.OpListXattr:   {args: 1, run: m.mounted(t.listXattr)},
		wire.OpRun:         {args: anyArgs, run: m.mounted(t.run)},
		wire.OpExtents:     {args: 1, run: m.mounted(t.extents)},

		wire.OpGrowPartition: {args: 1, run: growPartition},
	}
}

// powerOff answers before the kernel ends: afterwards nobody can. Where something
// cannot be unmounted, it says so instead.
func powerOff(l *line, m *mounts) func(*call) ([]string, error) {
	return func(c *call) ([]string, error) {
		if _, err := m.unmountAll(c); err != nil {
			return nil, err
		}
		unix.Sync()
		if err := l.result(wire.Message{Args: []string{""}}); err != nil {
			return nil, err
		}
		return nil, errors.Join(errors.New("powering off"), unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
	}
}
