package initramfs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"goldstream/attach"
	"goldstream/netboot/initramfs/lease"
)

// network gets the NIC its address and starts the keeper of its lease. What configures
// networks in the system, or in an initramfs of dracut, is told to leave the NIC alone: the
// root file system is behind it.
func network(ctx context.Context, root, mac string, log func(format string, args ...any)) error {
	n, err := lease.Acquire(ctx, mac, log)
	if err != nil {
		return fmt.Errorf("no address by DHCP: %w", err)
	}
	log("%s has %s of %s for %v", n.Name, n.Lease.Address, n.Lease.Server, n.Lease.Time)
	if err := leaveAlone(root, n); err != nil {
		return err
	}
	return startLeaseKeeper(n)
}

// leaveAlone writes below /run, which the system gets from the initramfs.
func leaveAlone(root string, n lease.NIC) error {
	for name, text := range map[string]string{
		"run/systemd/network/00-goldstream.network":    Unmanaged(n.MAC.String()),
		"run/NetworkManager/conf.d/00-goldstream.conf": fmt.Sprintf("[keyfile]\nunmanaged-devices=mac:%s\n", n.MAC),
		"run/net-" + filepath.Base(n.Name) + ".conf":   n.Conf(),
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Unmanaged is a file of networkd that has it leave a NIC alone.
func Unmanaged(mac string) string {
	return "[Match]\nMACAddress=" + mac + "\n\n[Link]\nUnmanaged=yes\n"
}

// LeaseCommand is the word by which the helper becomes the keeper of a lease.
const LeaseCommand = "lease"

// startLeaseKeeper leaves a process in the background. The @ asks systemd to let it live
// through the change of roots, as attach's keeper does.
func startLeaseKeeper(n lease.NIC) error {
	left := n.Lease.Time - time.Since(n.Lease.Since)
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"@goldstream-lease", LeaseCommand, strconv.Itoa(n.Index), n.MAC.String(), n.Lease.Address.String(), n.Lease.Server.String(),
		strconv.Itoa(int(left / time.Second))}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start the keeper of the lease: %w", err)
	}
	return cmd.Process.Release()
}

// KeepLease is that process; args are those behind LeaseCommand.
func KeepLease(ctx context.Context, args []string) error {
	n, err := parseNIC(args)
	if err != nil {
		return err
	}
	log := attach.KernelLog("lease")
	attach.Harden(log)
	return lease.Keep(ctx, n, log)
}

func parseNIC(args []string) (n lease.NIC, err error) {
	if len(args) != 5 {
		return n, fmt.Errorf("%s: %d words, there are 5: %w", LeaseCommand, len(args), attach.ErrUsage)
	}
	var errs [5]error
	var seconds int
	n.Index, errs[0] = strconv.Atoi(args[0])
	n.MAC, errs[1] = net.ParseMAC(args[1])
	n.Lease.Address, errs[2] = netip.ParsePrefix(args[2])
	n.Lease.Server, errs[3] = netip.ParseAddr(args[3])
	seconds, errs[4] = strconv.Atoi(args[4])
	if err := errors.Join(errs[:]...); err != nil || seconds < 1 {
		return n, fmt.Errorf("%s: %w (%w)", LeaseCommand, err, attach.ErrUsage)
	}
	n.Name, n.Lease.Time, n.Lease.Since = "NIC "+args[0], time.Duration(seconds)*time.Second, time.Now()
	return n, nil
}
