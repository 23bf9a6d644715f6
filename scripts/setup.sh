#!/usr/bin/env bash
# Installs what the tests need beside Go: QEMU's user emulation, Python for the independent reader of the format, an assembler to check encodings with,
# makers of file systems, and an MQTT broker.
set -euo pipefail
missing=()
command -v qemu-aarch64 >/dev/null || missing+=(qemu-user)
command -v python3 >/dev/null || missing+=(python3)
command -v gcc >/dev/null || missing+=(gcc libc6-dev) # the race detector links with it, and the plugin that counts instructions is C
command -v aarch64-linux-gnu-as >/dev/null || missing+=(binutils-aarch64-linux-gnu)
# boards/image is held against what makes and checks file systems.
command -v mkfs.fat >/dev/null || [ -x /usr/sbin/mkfs.fat ] || missing+=(dosfstools)
command -v mke2fs >/dev/null || [ -x /usr/sbin/mke2fs ] || missing+=(e2fsprogs)
command -v sfdisk >/dev/null || [ -x /usr/sbin/sfdisk ] || missing+=(fdisk)
command -v mcopy >/dev/null || missing+=(mtools)
# edge/action is held against a real MQTT broker.
command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || missing+=(mosquitto)
command -v xz >/dev/null || missing+=(xz-utils)
[ ${#missing[@]} -eq 0 ] && exit 0
echo "setup: installing ${missing[*]}"
if [ "$(id -u)" != 0 ]; then
	echo "setup: not root; run: apt-get install ${missing[*]}" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends "${missing[@]}"
