// Package wire is the protocol between a disk cell's host side and its guest:
// frames over the serial line of User-Mode-Linux.
//
// The *host* is goldstream; the *guest* is goldstream-guest, init of that
// kernel. One *call* is open at a time: the host sends a Request and, for some
// ops, Data; the guest answers with Data, if the op has output, and one Result.
// Besides, the guest sends Hello once, Disk when the disk appeared, and Acks.
//
// # Hazards
//
//   - The line loses what it gets before the guest has opened it, so the host is
//     silent until Hello.
//   - A terminal whose 4 KiB buffer is full stops taking input, for ever: the
//     serial driver of User-Mode-Linux never resumes. So the host keeps at most
//     Window bytes unacknowledged. The guest acknowledges bytes it has read.
//   - The guest may be in an attacker's hands: every length has a cap, every frame
//     a checksum, and what does not fit is ErrProtocol, after which nothing from it
//     is read any more.
//
// It imports little, since it is part of the guest.
package wire
