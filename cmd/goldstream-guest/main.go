// Command goldstream-guest is the small helper inside other kernels: in an
// initramfs it attaches NBD devices and keeps them attached, in a sandbox it is
// the first process. It is one static file of less than 4 MB. In an initramfs, put in the
// place of nbd-client (Debian: NBDCLIENT=), it takes its arguments.
//
//	goldstream-guest attach /dev/nbd0 --server 192.0.2.10 --export web-1
//	goldstream-guest 192.0.2.10 -N web-1 10809 /dev/nbd0 -swap -persist -systemd-mark
//	goldstream-guest detach /dev/nbd0
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"goldstream/attach"
	"goldstream/netboot/initramfs"
	"goldstream/personalize/sandbox/guest"
)

func main() {
	if guest.IsInit() {
		guest.Main()
	}
	if guest.IsScript() {
		guest.ScriptMain()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "goldstream-guest:", err)
	if errors.Is(err, attach.ErrUsage) {
		os.Exit(2)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] == "--help" || args[0] == "-h" || args[0] == "help" {
		_, err := fmt.Fprint(stdout, attach.Usage, "\ndetach DEVICE\nnetboot    in an initramfs: attach the volume that came with it\nmounted    in an initramfs: the root file system is mounted\nlease …    keep the lease that netboot got\n")
		return err
	}
	switch args[0] {
	case "attach":
		return attach.Main(ctx, []string{"attach"}, args[1:], stdout, stderr)
	case "netboot":
		return initramfs.Run(ctx, stderr)
	case initramfs.MountedCommand:
		return initramfs.Mounted(ctx, stderr)
	case initramfs.LeaseCommand:
		return initramfs.KeepLease(ctx, args[1:])
	case "detach":
		if len(args) != 2 {
			return fmt.Errorf("detach: say which device, one /dev/nbdN (%w)", attach.ErrUsage)
		}
		return attach.Detach(args[1])
	}
	return attach.Main(ctx, nil, args, stdout, stderr) // as nbd-client
}
