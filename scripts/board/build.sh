#!/usr/bin/env bash
# Builds the disk image of an emulated arm64 board out of Debian's packages, in the layout of Raspberry Pi OS: a FAT partition with kernel, initrd, device
# trees, config.txt and cmdline.txt, and an ext4 root with systemd and sshd. Packages are unpacked, not installed: their scripts are arm64 programs, which take
# many minutes under emulation, and a board that boots needs little of what they do; that little is done here. Nothing is mounted. Prints the image's path.
# Usage: build.sh      as root; a minute or two for the packages, once, and some 10 seconds for the image
# Environment: BIMAMBA_BOARD_CACHE, where all results are (~/.cache/bimamba-board), and BIMAMBA_BOARD_PACKAGES, further packages with spaces between.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# -eq 0 ] || usage
[ "$(id -u)" = 0 ] || die "run as root: the files of the image belong to root"
need mmdebstrap:mmdebstrap arch-test:arch-test sfdisk:fdisk mformat:mtools mke2fs:e2fsprogs ssh-keygen:openssh-client zstd:zstd depmod:kmod cpio:cpio xz:xz-utils
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # one build at a time
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

packages='linux-image-arm64 busybox-static systemd systemd-sysv systemd-resolved udev dbus kmod openssh-server iproute2 sudo procps libnss-myhostname
	libpam-modules libpam-runtime libpam-systemd passwd login mawk apt curl jq'
packages="$(echo $packages) ${BIMAMBA_BOARD_PACKAGES:-}"
unpacked=$cache/$suite-$(sha256sum <<<"$packages" | cut -c1-12).tar.zst
if [ ! -s "$unpacked" ]; then
	echo "build: unpacking Debian $suite for arm64" >&2
	mmdebstrap --mode=root --architectures=arm64 --variant=extract --include='?essential' --include="$packages" \
		--aptopt='APT::Install-Recommends "false"' "$suite" - 2>"$cache/packages.log" |
		zstd -q -T0 -3 >"$work/unpacked" || {
		tail -n 20 "$cache/packages.log" >&2
		die "the packages could not be unpacked; all of it is in $cache/packages.log"
	}
	mv "$work/unpacked" "$unpacked"
fi

# Keys of the login and of the board itself, which is known beforehand, so that ssh checks it.
[ -s "$cache/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C board -f "$cache/id_ed25519"
[ -s "$cache/host_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C board -f "$cache/host_ed25519"

image=$cache/$suite.img
key=$(cat "$0" "$(dirname "$0")/lib.sh" "$cache/id_ed25519.pub" "$cache/host_ed25519.pub" <(echo "$unpacked") | sha256sum)
if [ -s "$image" ] && [ "$(cat "$image.key" 2>/dev/null)" = "$key" ]; then
	echo "$image"
	exit
fi
echo "build: writing $image" >&2
root=$work/root
mkdir "$root"
zstd -dc "$unpacked" | tar -C "$root" --numeric-owner --xattrs --xattrs-include='*' --exclude='./usr/share/'{man,locale,info}'/*' -xpf -

# Accounts. systemd-sysusers adds those of systemd's and sshd's own at each first boot.
etc=$root/etc
cp "$root/usr/share/base-passwd/passwd.master" "$etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$etc/group"
echo 'pi:x:1000:1000::/home/pi:/bin/bash' >>"$etc/passwd" # the user of Raspberry Pi OS, without a password
echo 'pi:x:1000:' >>"$etc/group"
sed -i 's/^\([^:]*\):[^:]*:/\1:x:/' "$etc/passwd"
sed 's/^\([^:]*\):.*/\1:*:20000:0:99999:7:::/' "$etc/passwd" >"$etc/shadow"
sed 's/^\([^:]*\):.*/\1:*::/' "$etc/group" >"$etc/gshadow"
chmod 0640 "$etc/shadow" "$etc/gshadow"
chown 0:42 "$etc/shadow" "$etc/gshadow" # group shadow
echo 'pi ALL=(ALL) NOPASSWD: ALL' >"$etc/sudoers.d/pi"
chmod 0440 "$etc/sudoers.d/pi"
for home in root home/pi; do
	install -d -m 0700 "$root/$home" "$root/$home/.ssh"
	install -m 0600 "$cache/id_ed25519.pub" "$root/$home/.ssh/authorized_keys"
done
chown -R 1000:1000 "$root/home/pi"

# What the scripts of packages would have written.
for kind in auth account password session session-noninteractive; do
	echo "${kind%-*} required pam_unix.so" >"$etc/pam.d/common-$kind"
done
# Without pam_systemd: it starts a manager for each user who logs in, which takes a busy emulator longer than ssh waits.
cp "$root/usr/share/libc-bin/nsswitch.conf" "$etc/"
cp "$root/usr/share/base-files/profile" "$etc/profile"
ln -sf mawk "$root/usr/bin/awk"
cp "$root/usr/share/openssh/sshd_config" "$etc/ssh/"
install -m 0600 "$cache/host_ed25519" "$etc/ssh/ssh_host_ed25519_key"
install -m 0644 "$cache/host_ed25519.pub" "$etc/ssh/ssh_host_ed25519_key.pub"
printf 'PasswordAuthentication no\nUseDNS no\n' >"$etc/ssh/sshd_config.d/board.conf"

echo board >"$etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 board\n::1 localhost\n' >"$etc/hosts"
: >"$etc/machine-id"
mkdir -p "$root/boot/firmware" "$etc/systemd/journald.conf.d" "$etc/systemd/network" "$etc/systemd/system/multi-user.target.wants"
printf 'PARTUUID=%s-02 / ext4 noatime,errors=remount-ro 0 1\nPARTUUID=%s-01 /boot/firmware vfat defaults 0 0\n' $disk_id $disk_id >"$etc/fstab"
printf '[Match]\nType=ether\n[Network]\nDHCP=ipv4\n' >"$etc/systemd/network/10-wired.network"
printf '[Journal]\nStorage=persistent\nSystemMaxUse=16M\n' >"$etc/systemd/journald.conf.d/board.conf"
for unit in systemd-networkd ssh; do
	ln -sf /usr/lib/systemd/system/$unit.service "$etc/systemd/system/multi-user.target.wants/"
done
if [ -e "$root/usr/bin/cloud-init" ]; then # of BIMAMBA_BOARD_PACKAGES
	ln -sf nc.openbsd "$root/usr/bin/nc"
	cat "$root"/usr/share/ca-certificates/mozilla/*.crt >"$etc/ssl/certs/ca-certificates.crt"
	for unit in "$root"/usr/lib/systemd/system/cloud-{init-*,config,final}.service; do
		for target in $(sed -n 's/^WantedBy=//p' "$unit"); do
			mkdir -p "$etc/systemd/system/$target.wants"
			ln -sf "/usr/lib/systemd/system/$(basename "$unit")" "$etc/systemd/system/$target.wants/"
		done
	done
	echo 'ssh_deletekeys: false' >"$etc/cloud/cloud.cfg.d/90-board.cfg" # the host key is known
fi
for unit in systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
	systemd-hwdb-update.service systemd-journal-catalog-update.service; do # the last two take a busy emulator minutes, and nothing here needs them
	ln -sf /dev/null "$etc/systemd/system/$unit"
done

# The initrd: a busybox, and the modules that the root is found with on virtio (QEMU's virt) and on an SD card (raspi3b), in the order of their needs; and those of
# raspi3b's network card, whose emulated USB loses it for good, at times, when it is looked for while the system starts.
kernel=$(basename "$root"/lib/modules/*-arm64)
depmod -b "$root" "$kernel"
init=$work/init
mkdir -p "$init"/{bin,proc,sys,dev,root,modules}
cp "$root/usr/bin/busybox" "$init/bin/"
for module in virtio_pci virtio_mmio virtio_blk mmc_block bcm2835 sdhci-iproc ext4 phy-generic dwc2 cdc_ether; do
	modprobe -d "$root" -S "$kernel" --show-depends $module 2>/dev/null | sed -n 's/^insmod //p' || true # some are in the kernel
done | awk '!seen[$1]++ { print $1 }' >"$work/modules"
n=100
while read -r file; do
	n=$((n + 1))
	case $file in
	*.xz) xz -dc "$file" >"$init/modules/$n.ko" ;;
	*) cp "$file" "$init/modules/$n.ko" ;;
	esac
done <"$work/modules"
cat >"$init/init" <<-'END'
	#!/bin/busybox sh
	busybox mount -t proc proc /proc
	busybox mount -t sysfs sys /sys
	busybox mount -t devtmpfs dev /dev
	for m in /modules/*.ko; do busybox insmod $m; done
	while :; do
		for disk in /dev/vda2 /dev/mmcblk0p2; do
			[ -b $disk ] && busybox mount -o rw $disk /root && break 2
		done
		busybox sleep 0.1
	done
	dwc2=/sys/bus/platform/drivers/dwc2
	for try in 1 2 3 4 5; do
		[ -e $dwc2/3f980000.usb ] || break
		for i in $(busybox seq 100); do
			[ -e /sys/class/net/usb0 ] && break 2
			busybox sleep 0.1
		done
		echo 3f980000.usb >$dwc2/unbind
		echo 3f980000.usb >$dwc2/bind
	done
	busybox mount --move /dev /root/dev
	busybox umount /proc /sys
	exec busybox switch_root /root /sbin/init
END
chmod 0755 "$init/init"

boot=$work/boot
mkdir "$boot"
(cd "$init" && find . | cpio --quiet -o -H newc | zstd -q -3) >"$boot/initrd.img"
cp "$root/boot/vmlinuz-$kernel" "$boot/kernel8.img"
cp "$root/usr/lib/linux-image-$kernel/broadcom/"bcm2[78]*-rpi-*.dtb "$boot/"
printf 'arm_64bit=1\nkernel=kernel8.img\ninitramfs initrd.img followkernel\nenable_uart=1\n' >"$boot/config.txt"
echo "root=PARTUUID=$disk_id-02 rootfstype=ext4 rootwait rw" >"$boot/cmdline.txt"

mib=2048 boot_mib=256 # an SD card in QEMU has to be a power of two
truncate -s ${mib}M "$work/image"
sfdisk -q "$work/image" <<-END
	label: dos
	label-id: 0x$disk_id
	unit: sectors
	start=8192, size=$((boot_mib * 2048)), type=c, bootable
	start=$((8192 + boot_mib * 2048)), type=83
END
mformat -i "$work/image@@$fat_offset" -F -c 4 -v bootfs -T $((boot_mib * 2048)) -h 255 -s 63 -H 8192 ::
mcopy -s -i "$work/image@@$fat_offset" "$boot"/* ::
# The features are those of Raspberry Pi OS's images. mke2fs complains that the file is longer than the file system: it looks past the offset.
ext4_offset=$((fat_offset + boot_mib * 1048576))
mke2fs -q -t ext4 -L rootfs -m 1 -O '^64bit,^huge_file,^metadata_csum_seed,^orphan_file' -d "$root" -E offset=$ext4_offset,lazy_itable_init=1 \
	"$work/image" $(((mib * 1048576 - ext4_offset) / 1024))k 2>"$work/mke2fs.log" || {
	cat "$work/mke2fs.log" >&2
	die "mke2fs failed"
}
mv "$work/image" "$image"
echo "$key" >"$image.key"
echo "$image"
