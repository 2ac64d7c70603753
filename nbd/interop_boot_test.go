package nbd

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bootSector is a program for a PC's BIOS. It prints its last words on the
// serial port, has the BIOS write it to the second sector, and ends the machine
// with what came of that.
//
//	     xor ax,ax; mov ds,ax; mov es,ax; mov ss,ax; mov sp,0x7c00; push dx; cld
//	     mov si,message
//	next: lodsb; test al,al; jz done; mov dx,0x3f8; out dx,al; jmp next
//	done: mov ax,0x0301; mov cx,2; pop dx; mov dh,0; mov bx,0x7c00; int 0x13
//	     mov al,0; jnc end; mov al,1
//	end: mov dx,0xf4; out dx,al; hlt
func bootSector(message string) []byte {
	code := []byte{0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0x52, 0xfc,
		0xbe, 0, 0x7c,
		0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5,
		0xb8, 0x01, 0x03, 0xb9, 0x02, 0x00, 0x5a, 0xb6, 0x00, 0xbb, 0x00, 0x7c, 0xcd, 0x13,
		0xb0, 0x00, 0x73, 0x02, 0xb0, 0x01,
		0xba, 0xf4, 0x00, 0xee, 0xf4}
	code[14] = byte(len(code))
	sector := make([]byte, 512)
	copy(sector[copy(sector, code):], message)
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

// A machine boots from the disk and writes to it; 'make demo' boots a Debian.
func TestInteropQemuBoots(t *testing.T) {
	t.Parallel()
	const message = "booted over NBD"
	d := newFileDevice(t, 1<<20)
	sector := bootSector(message)
	_, err := d.f.WriteAt(sector, 0)
	require.NoError(t, err)
	_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-m", "32", "-nodefaults", "-no-reboot", "-display", "none",
		"-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
		"-drive", "format=raw,if=ide,file=nbd+unix:///disk?socket="+path).CombinedOutput()
	var end *exec.ExitError
	require.True(t, errors.As(err, &end), "%v: %s", err, out)
	require.Equal(t, 1, end.ExitCode(), "%s", out) // 3: the BIOS could not write
	require.Contains(t, string(out), message)
	second := make([]byte, 512)
	_, err = d.f.ReadAt(second, 512)
	require.NoError(t, err)
	require.Equal(t, sector, second)
}
