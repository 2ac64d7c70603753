package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookEvery is how often the keeper looks whether the device is still
	// attached, and still by it.
	lookEvery = 2 * time.Second
	// firstPause and longestPause are the times between attempts to reach a
	// server that is away.
	firstPause   = 100 * time.Millisecond
	longestPause = 2 * time.Second
)

// keeper keeps one device attached.
type keeper struct {
	c      *Config
	kernel *netlink // for calls
	events *netlink // for multicasts, which a call would throw away
	log    logger
	sys    *os.File // the device's directory in sysfs, nil before it is attached
	size   uint64
	holder string
	conns  int
	waits  *patience
}

// logger takes lines for people.
type logger func(format string, args ...any)

// attach attaches the device. The keeper has joined the multicasts before: no
// death of a connection goes unheard.
func attach(ctx context.Context, c *Config, log logger) (*keeper, error) {
	kernel, err := dialKernel()
	if err != nil {
		return nil, err
	}
	events, err := dialKernel()
	if err != nil {
		kernel.close()
		return nil, err
	}
	k := &keeper{c: c, kernel: kernel, events: events, log: log, waits: newPatience(c.Timeout)}
	if err = events.join(); err == nil {
		err = k.connect(ctx)
	}
	if err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func (k *keeper) close() {
	k.kernel.close()
	k.events.close()
	if k.sys != nil {
		_ = k.sys.Close()
	}
}

func (k *keeper) connect(ctx context.Context) error {
	first, e, err := open(ctx, k.c)
	if err != nil {
		return err
	}
	files := []*os.File{first}
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if e.flags&flagMultiConn != 0 {
		for len(files) < k.c.Connections {
			f, other, err := open(ctx, k.c)
			if err != nil {
				return err
			}
			files = append(files, f)
			if other.size != e.size {
				return fmt.Errorf("export %q changes its size: try again", k.c.Export)
			}
		}
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	// Before the device is attached: without it the keeper would leave one behind.
	if k.sys, err = os.Open(sysfs(k.c.Index, "")); err != nil {
		return fmt.Errorf("%s: is there such a device, and is /sys mounted? %w", k.c.Device, err)
	}
	if err := k.kernel.connect(k.c, e, fds); err != nil {
		return explain(k.c.Device, err)
	}
	if k.size, k.conns, k.holder = e.size, len(fds), holderIn(k.sys); k.holder == "" {
		return fmt.Errorf("%s is not attached: the server closed the connection at once", k.c.Device)
	}
	tuneDevice(k.c)
	readPartitions(k.c.Device)
	return nil
}

func explain(device string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s is attached already: 'goldstream detach %s' frees it", device, device)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: only root may attach devices", device)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%s: the kernel refuses (%w): is there such a device? The module's nbds_max says how many", device, err)
	}
	return fmt.Errorf("%s: %w", device, err)
}

// keep brings new sockets for dead ones until the device is detached.
func (k *keeper) keep(ctx context.Context) error {
	defer k.close()
	dead := 0
	for ctx.Err() == nil && k.mine() {
		n, err := k.events.deadLinks(uint32(k.c.Index), lookEvery, k.conns)
		if err != nil {
			return fmt.Errorf("listening for dead connections: %w", err)
		}
		if dead = min(dead+n, k.conns); dead > 0 {
			k.log("%s: %d of %d connections to %s are dead", k.c.Device, dead, k.conns, k.c.Address)
			k.revive(ctx, dead)
			dead = 0
		} else if k.waits.calm(time.Now()) {
			k.log("%s: all is quiet: an answer may take %v again", k.c.Device, k.waits.now)
			if err := k.kernel.setTimeout(k.c.Index, k.waits.now); err != nil {
				k.log("%s: the kernel refuses another timeout: %v", k.c.Device, err)
			}
		}
	}
	return ctx.Err()
}

// mine reports whether the device is attached, and by this keeper.
func (k *keeper) mine() bool { return holderIn(k.sys) == k.holder }

// revive reconnects as often as connections died, however long it takes.
func (k *keeper) revive(ctx context.Context, dead int) {
	pause := firstPause
	for first := true; dead > 0 && ctx.Err() == nil && k.mine(); first = false {
		err := k.replaceOne(ctx, first)
		if err == nil {
			dead--
			pause = firstPause
			k.log("%s: reconnected to %s", k.c.Device, k.c.Address)
			continue
		}
		k.log("%s: %v; trying again in %v", k.c.Device, err, pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}

// replaceOne brings a socket for a dead one; first is the first attempt since
// connections died.
func (k *keeper) replaceOne(ctx context.Context, first bool) error {
	f, e, err := open(ctx, k.c)
	if first && k.waits.died(time.Now(), err == nil) {
		k.log("%s: %s is there, and answers late: an answer may take %v now", k.c.Device, k.c.Address, k.waits.now)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if e.size < k.size {
		return fmt.Errorf("export %q has %d bytes now and had %d: this is another disk", k.c.Export, e.size, k.size)
	}
	return k.kernel.replace(k.c.Index, int(f.Fd()), k.waits.now)
}

// Harden keeps a keeper alive where its own disk, or memory, is away.
func Harden(log func(format string, args ...any)) {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE); err != nil {
		log("memory is not locked: %v", err)
	}
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	_ = os.Chdir("/")
}
