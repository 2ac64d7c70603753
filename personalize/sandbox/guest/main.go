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
	err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "goldstream-guest:", err)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	os.Exit(1)
}

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
	if err := l.send(wire.Hello, wire.Last, wire.Number(wire.Version)); err != nil {
		return err
	}
	go func() {
		if err := announceDisk(l, events); err != nil {
			fmt.Fprintln(os.Stderr, "goldstream-guest:", err)
		}
	}()
	s := &server{l: l, commands: map[wire.Op]command{
		wire.OpPowerOff: {run: powerOff(l)},
		wire.OpEcho:     {input: true, run: echo},
		wire.OpDevices:  {run: devices},
	}}
	return s.serve()
}

// powerOff answers before the kernel ends: afterwards nobody can.
func powerOff(l *line) func(*call) ([]string, error) {
	return func(*call) ([]string, error) {
		unix.Sync()
		if err := l.result(wire.Message{Args: []string{""}}); err != nil {
			return nil, err
		}
		return nil, errors.Join(errors.New("powering off"), unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
	}
}
