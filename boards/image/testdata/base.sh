#!/bin/sh
# Makes base.img.gz: a card in small, in the layout of Raspberry Pi OS, with the marks of all four ways to set itself up at its first boot.
# Needs fdisk, dosfstools, mtools and e2fsprogs. Usage: base.sh OUT.img.gz
set -eu
export PATH="$PATH:/usr/sbin:/sbin" MTOOLS_SKIP_CHECK=1
out=$1 tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
root=$tmp/root img=$tmp/img
mkdir -p "$root"/etc/cloud/cloud.cfg.d "$root"/usr/bin "$root"/usr/sbin "$root"/usr/share/zoneinfo/Europe "$root"/usr/lib/modules/6.12.47+rpt-rpi-v8 \
	"$root"/usr/lib/systemd/system-generators "$root"/usr/lib/raspberrypi-sys-mods
cat >"$root/usr/lib/os-release" <<'END'
PRETTY_NAME="Debian GNU/Linux 13 (trixie)"
ID=debian
VERSION_CODENAME=trixie
END
ln -s ../usr/lib/os-release "$root/etc/os-release"
printf 'proc /proc proc defaults 0 0\nPARTUUID=b0a4d001-01 /boot/firmware vfat defaults 0 2\nPARTUUID=b0a4d001-02 / ext4 defaults,noatime 0 1\n' >"$root/etc/fstab"
printf 'datasource:\n  NoCloud:\n    seedfrom: file:///boot/firmware\n' >"$root/etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg"
printf '\177ELF\002\001\001\000\000\000\000\000\000\000\000\000\003\000\267\000' >"$root/usr/bin/dpkg" # the head of a program of arm64
echo zone >"$root/usr/share/zoneinfo/Europe/Berlin"
for f in bin/cloud-init bin/rpi-preseed sbin/NetworkManager lib/systemd/system-generators/systemd-run-generator lib/raspberrypi-sys-mods/init_config; do
	echo program >"$root/usr/$f"
done
truncate -s 20M "$img"
printf 'label: dos\nlabel-id: 0xb0a4d001\nunit: sectors\nstart=64, size=32768, type=c\nstart=32832, size=4000, type=83\n' | sfdisk -q "$img"
truncate -s 16M "$tmp/fat"
mkfs.fat -F 16 -s 1 -n bootfs -i b0a4d001 --invariant "$tmp/fat" >/dev/null 2>&1
printf 'console=serial0,115200 console=tty1 root=PARTUUID=b0a4d001-02 rootfstype=ext4 fsck.repair=yes rootwait quiet init=/usr/lib/raspberrypi-sys-mods/firstboot\n' >"$tmp/cmdline.txt"
printf '#cloud-config\n# edit me\n' >"$tmp/user-data"
printf 'instance-id: rpios-image\n' >"$tmp/meta-data"
printf '# edit me\n' >"$tmp/network-config"
printf 'arm_64bit=1\n' >"$tmp/config.txt"
head -c 50000 /dev/zero | tr '\0' k >"$tmp/kernel8.img"
for f in cmdline.txt config.txt kernel8.img user-data meta-data network-config; do
	touch -d 2026-01-01T00:00:00Z "$tmp/$f"
	mcopy -m -i "$tmp/fat" "$tmp/$f" ::
done
dd if="$tmp/fat" of="$img" bs=512 seek=64 conv=notrunc status=none
mke2fs -q -t ext4 -b 1024 -N 64 -L rootfs -O '^64bit,^huge_file,^has_journal' -d "$root" -E offset=$((32832 * 512)) "$img" 2000k 2>/dev/null
gzip -9n <"$img" >"$out"
