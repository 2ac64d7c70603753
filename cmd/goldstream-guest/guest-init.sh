#!/bin/sh
# The first program of the kernel under test: attaches, makes a file system, and
# writes files while the server dies and comes back. What it finds goes to the
# console, one line each; then the machine ends.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /mnt # the helper may be in /tmp
for word in $(cat /proc/cmdline); do
	case $word in e2e.*) eval "${word#e2e.}" ;; esac
done
end() { echo "END $*"; sleep 1; poweroff -f 2>/dev/null; busybox poweroff -f; }

busybox ip link set lo up
busybox ip addr add 10.77.0.2/24 dev eth0
busybox ip link set eth0 up
busybox insmod "$module" nbds_max=4 || end "no nbd module"
"$guest" attach /dev/nbd0 --server "10.77.0.1:$port" --export "$export" --connections "$conns" || end "attach failed"
echo "ATTACHED $(cat /sys/block/nbd0/size) $(cat /sys/block/nbd0/queue/read_ahead_kb)"
"$guest" -c /dev/nbd0 >/dev/null || end "check failed"
mkfs.ext4 -q -F /dev/nbd0 || end "mkfs failed"
mkdir /mnt/disk
mount /dev/nbd0 /mnt/disk || end "mount failed"

i=0 failed=0
while [ "$i" -lt "$files" ]; do
	i=$((i + 1))
	seq "$i" $((i + 9000)) | dd of="/mnt/disk/$i" bs=64k conv=fsync 2>/dev/null || failed=$((failed + 1))
	echo "W $i"
done
echo 3 >/proc/sys/vm/drop_caches
umount /mnt/disk || end "umount failed"
e2fsck -fn /dev/nbd0 >/mnt/fsck 2>&1 || { cat /mnt/fsck; end "fsck found errors"; }
mount -o ro /dev/nbd0 /mnt/disk || end "second mount failed"
i=0 good=0
while [ "$i" -lt "$files" ]; do
	i=$((i + 1))
	seq "$i" $((i + 9000)) | cmp -s - "/mnt/disk/$i" && good=$((good + 1))
done
umount /mnt/disk
errors=$(dmesg | grep -c -E 'I/O error|EXT4-fs (error|warning)|Buffer I/O')
echo "LATE $(dmesg | grep -c 'answers late')"
"$guest" detach /dev/nbd0 || end "detach failed"
"$guest" -c /dev/nbd0 >/dev/null 2>&1 && end "still attached"
[ "$errors" = 0 ] || dmesg | tail -40
end "failed=$failed good=$good errors=$errors"
