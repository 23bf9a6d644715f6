#!/usr/bin/env bash
# Installs Debian's packages that are needed beside Go, if they are missing: as root, otherwise it says what to run.
# Usage: setup.sh GROUP...     tests: QEMU's user emulation, an assembler, Python, makers of file systems, an MQTT broker; train: PyTorch for the trainer's tests;
#                              voice: what hears and speaks; clients: curl, node, npm and Chromium
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
missing=()
# need PACKAGE... COMMAND: the packages bring the command.
need() { command -v "${@: -1}" >/dev/null || missing+=("${@:1:$#-1}"); }
for group; do
	case $group in
	tests)
		need qemu-user qemu-aarch64
		need python3 python3                                     # the independent reader of the format
		need gcc libc6-dev gcc                                   # the race detector links with it, and the plugin that counts instructions is C
		need binutils-aarch64-linux-gnu aarch64-linux-gnu-as     # encodings are checked with it
		need dosfstools mkfs.fat                                 # boards/image is held against these four
		need e2fsprogs mke2fs
		need fdisk sfdisk
		need mtools mcopy
		need mosquitto mosquitto                                 # edge/action is held against it
		need xz-utils xz
		;;
	train) # Debian's python3-torch is for Debian's Python
		for module in torch numpy; do /usr/bin/python3 -c "import $module" 2>/dev/null || missing+=("python3-$module"); done
		;;
	voice)
		need pocketsphinx pocketsphinx_batch
		[ -d /usr/share/pocketsphinx/model/en-us/en-us ] || missing+=(pocketsphinx-en-us)
		need flite flite
		need espeak-ng espeak-ng
		need sox sox
		need mosquitto mosquitto
		need mosquitto-clients mosquitto_sub
		;;
	clients)
		need curl curl
		need nodejs node
		need npm npm
		need chromium "${CHROMIUM:-chromium}"
		;;
	*)
		echo "setup: there is no group $group" >&2
		exit 2
		;;
	esac
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ]; then
	echo "setup: not root; run: apt-get install --no-install-recommends ${missing[*]}" >&2
	exit 1
fi
echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
exec 9>/var/lock/bimamba-setup
flock 9 # apt waits for nobody
apt-get update -q >/dev/null
apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null
