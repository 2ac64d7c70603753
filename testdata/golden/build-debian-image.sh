#!/bin/bash
# Makes the demo's golden image: a bootable Debian 12 disk (GPT: an EFI system
# partition and an ext4 root labelled "root"), its kernel and its initrd.
#
#   build-debian-image.sh [--force] [--dracut] [OUTPUT-DIR]
#
# --dracut has dracut make the initrd instead of initramfs-tools.
# OUTPUT-DIR (default: .cache/golden of the checkout) gets disk.raw, vmlinuz and
# initrd. Nothing is mounted from the image and no loop device is used: the file
# systems are filled by mke2fs -d and mcopy, so it also works where the kernel
# has neither. Packages come from the mirror that this machine's apt uses and are
# checked against apt's keyring. Everything is made in a temporary directory
# beside the results and renamed at the end; an interrupted run leaves nothing.
set -euo pipefail
export LC_ALL=C

readonly SUITE=bookworm
readonly DISK_MIB=2048 ESP_START_MIB=1 ESP_MIB=128
readonly ROOT_START_MIB=$((ESP_START_MIB + ESP_MIB))
# The last MiB holds the second copy of the partition table.
readonly ROOT_MIB=$((DISK_MIB - ROOT_START_MIB - 1))
readonly INCLUDE=systemd-sysv,udev,dbus,kmod,login,netbase,iproute2,ifupdown,isc-dhcp-client,\
INITRAMFS,linux-image-cloud-amd64,nbd-client,e2fsprogs,zstd,systemd-boot-efi,debian-archive-keyring
readonly TOOLS="mmdebstrap mke2fs sfdisk mkfs.vfat mcopy flock"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
force=no
initramfs=initramfs-tools
out=
PATH=$PATH:/usr/sbin:/sbin

step() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }
die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

parse_arguments() {
	while (($#)); do
		case $1 in
		--force) force=yes ;;
		--dracut) initramfs=dracut,dracut-network,procps ;;
		-h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
		-*) die "unknown option $1; see --help" ;;
		*) out=$1 ;;
		esac
		shift
	done
	out=${out:-$here/../../.cache/golden}
}

check_machine() {
	((EUID == 0)) || die "installing Debian into a directory needs root; run it with sudo"
	[[ $(dpkg --print-architecture) == amd64 ]] || die "the image is for amd64 and needs an amd64 machine"
	local tool
	for tool in $TOOLS; do
		command -v "$tool" >/dev/null || die "$tool is missing; run: make deps"
	done
}

# recipe identifies how the image is made; a changed one makes it anew.
recipe() { { cat "${BASH_SOURCE[0]}"; echo "$initramfs"; } | sha256sum | cut -d' ' -f1; }

up_to_date() {
	[[ $force == no && -s $out/disk.raw && -s $out/vmlinuz && -s $out/initrd ]] &&
		[[ $(cat "$out/recipe" 2>/dev/null) == "$(recipe)" ]]
}

# apt_sources prints the machine's own sources of Debian $SUITE as one-line
# entries. apt itself resolves both notations of its source lists for us.
apt_sources() {
	apt-get indextargets --format '$(CODENAME)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)' \
		'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
		awk -F'|' -v suite="$SUITE" '
			$1 !~ "^" suite "(-updates|-security)?$" || $3 != "main" || seen[$0]++ { next }
			{ print ($1 == suite ? 0 : 1), "deb", $4, $2, $3 }' |
		sort -s -n -k1,1 | cut -d' ' -f2-
}

resolve_sources() {
	local lines
	lines=$(apt_sources)
	if [[ -z $lines ]]; then
		step "apt has no package lists yet: apt-get update"
		apt-get update -q >"$work/update.log" 2>&1 || die "apt-get update failed: $(tail -n 3 "$work/update.log")"
		lines=$(apt_sources)
	fi
	[[ $lines == *" $SUITE "* ]] ||
		die "apt's sources name no Debian $SUITE mirror; add one (component main) and run apt-get update"
	printf '%s\n' "$lines" >"$work/sources.list"
	collect_keys
}

# collect_keys gathers what apt trusts these sources with: its common keyrings,
# and those that Signed-By names in a source list where one of the mirrors stands.
collect_keys() {
	local list mirror key
	mkdir -p "$work/keys"
	find /etc/apt/trusted.gpg.d -type f \( -name '*.gpg' -o -name '*.asc' \) -exec cp -t "$work/keys" {} +
	while read -r _ mirror _; do
		for list in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
			grep -qsF "${mirror%/}" "$list" || continue
			for key in $(grep -oiE 'signed-by[:=] *[^] ]+' "$list" | sed -E 's/^[^:=]+[:=] *//; s/,/ /g'); do
				[[ ! -f $key ]] || cp -t "$work/keys" "$key"
			done
		done
	done <"$work/sources.list"
	chmod -R a+rX "$work/keys"
}

# install_debian shows what mmdebstrap is at and, while dpkg works, how many
# packages it has unpacked and set up.
install_debian() {
	step "installing Debian $SUITE from $(awk 'NR == 1 { print $2 }' "$work/sources.list") (about 2 minutes)"
	mmdebstrap --mode=root --variant=minbase --format=directory --verbose \
		--skip=output/dev,check/signed-by --keyring="$work/keys" \
		--include="${INCLUDE/INITRAMFS/$initramfs}" "$SUITE" "$work/root" - <"$work/sources.list" 2>&1 |
		tee "$work/install.log" | progress ||
		die "mmdebstrap failed: $(grep -E '^(E|W):|rror' "$work/install.log" | tail -n 5)"
}

# progress reads mmdebstrap's output. Making the initrd takes long without a word,
# so the last line is shown again while nothing comes.
progress() {
	local line status unpacked=0 set_up=0 last=$SECONDS doing=
	while true; do
		status=0
		IFS= read -r -t 10 line || status=$?
		if ((status > 128)); then
			line=
		elif ((status)); then
			return 0
		fi
		case $line in
		"I: /"*) ;;
		"I: "*) step "  ${line#I: }" ;;
		"Unpacking "*) unpacked=$((unpacked + 1)) ;;
		"Setting up "*) set_up=$((set_up + 1)) ;;
		esac
		[[ -z $line ]] || doing=$line
		if ((SECONDS - last >= 10)); then
			last=$SECONDS
			step "  packages: $unpacked unpacked, $set_up set up; ${doing:0:50}"
		fi
	done
}

configure() {
	local root=$work/root
	echo golden >"$root/etc/hostname"
	printf '127.0.0.1 localhost\n127.0.1.1 golden\n::1 localhost ip6-localhost\n' >"$root/etc/hosts"
	printf 'LABEL=root / ext4 errors=remount-ro 0 1\nLABEL=ESP /boot/efi vfat noauto,umask=0077 0 2\n' >"$root/etc/fstab"
	printf 'source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n' >"$root/etc/network/interfaces"
	mkdir -p "$root/boot/efi"
	# Every clone gets an identity of its own at its first boot.
	echo uninitialized >"$root/etc/machine-id"
	rm -f "$root/var/lib/dbus/machine-id" "$root/etc/resolv.conf" "$root"/var/lib/systemd/random-seed
	rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/tmp/*
	chroot "$root" passwd -l root >/dev/null
}

take_boot_files() {
	local kernel
	kernel=$(find "$work/root/boot" -maxdepth 1 -name 'vmlinuz-*' | sort -V | tail -n 1)
	[[ -n $kernel ]] || die "no kernel was installed"
	cp "$kernel" "$work/vmlinuz"
	cp "${kernel/vmlinuz-/initrd.img-}" "$work/initrd"
}

# make_esp fills the EFI partition so that UEFI firmware boots the disk too.
make_esp() {
	local esp=$work/esp.img
	truncate -s "${ESP_MIB}M" "$esp"
	mkfs.vfat -F 32 -n ESP "$esp" >/dev/null
	printf 'timeout 0\ndefault debian\n' >"$work/loader.conf"
	printf 'title Debian 12\nlinux /vmlinuz\ninitrd /initrd\noptions root=LABEL=root rw console=tty0 console=ttyS0\n' >"$work/debian.conf"
	mmd -i "$esp" ::/EFI ::/EFI/BOOT ::/loader ::/loader/entries
	mcopy -i "$esp" "$work/root/usr/lib/systemd/boot/efi/systemd-bootx64.efi" ::/EFI/BOOT/BOOTX64.EFI
	mcopy -i "$esp" "$work/loader.conf" ::/loader/loader.conf
	mcopy -i "$esp" "$work/debian.conf" ::/loader/entries/debian.conf
	mcopy -i "$esp" "$work/vmlinuz" "$work/initrd" ::/
}

make_root() {
	mke2fs -q -t ext4 -L root -d "$work/root" -E lazy_itable_init=1 "$work/root.img" "${ROOT_MIB}M" &>"$work/mke2fs.log" ||
		die "mke2fs failed: $(cat "$work/mke2fs.log")"
}

make_disk() {
	local disk=$work/disk.raw
	truncate -s "${DISK_MIB}M" "$disk"
	sfdisk -q "$disk" <<-TABLE
		label: gpt
		start=${ESP_START_MIB}MiB, size=${ESP_MIB}MiB, type=uefi, name=ESP
		start=${ROOT_START_MIB}MiB, size=${ROOT_MIB}MiB, type=linux, name=root
	TABLE
	dd if="$work/esp.img" of="$disk" bs=1M seek="$ESP_START_MIB" conv=sparse,notrunc status=none
	dd if="$work/root.img" of="$disk" bs=1M seek="$ROOT_START_MIB" conv=sparse,notrunc status=none
}

# publish renames the results into place; recipe, which vouches for them, comes last.
publish() {
	local file
	rm -f "$out/recipe"
	chmod 0644 "$work"/{disk.raw,vmlinuz,initrd}
	for file in disk.raw vmlinuz initrd; do
		mv -f "$work/$file" "$out/$file"
	done
	recipe >"$work/recipe"
	mv -f "$work/recipe" "$out/recipe"
}

main() {
	parse_arguments "$@"
	mkdir -p "$out"
	out=$(cd "$out" && pwd)
	check_machine
	exec 9>"$out/.lock"
	flock -n 9 || { step "another build is running, waiting for it"; flock 9; }
	if up_to_date; then
		step "golden image is up to date: $out/disk.raw"
		return
	fi
	# What a killed run left behind: the lock says that nobody uses it.
	rm -rf --one-file-system "$out"/.build.*
	work=$(mktemp -d "$out/.build.XXXXXX")
	trap 'rm -rf --one-file-system "$work"' EXIT
	trap 'echo "interrupted" >&2; exit 130' INT TERM HUP
	chmod 0755 "$work"
	resolve_sources
	install_debian
	step "configuring: hostname golden, no machine id, root locked"
	configure
	take_boot_files
	step "making the EFI partition"
	make_esp
	step "making the root file system"
	make_root
	step "assembling the disk"
	make_disk
	publish
	step "done: $out/disk.raw ($((DISK_MIB)) MiB, $(du -m "$out/disk.raw" | cut -f1) MiB on disk)"
}

main "$@"
