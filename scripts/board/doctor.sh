#!/usr/bin/env bash
# Runs `bimamba doctor`, `plan` and `measure` on emulated boards, and checks that they say what the boards are, and nothing that these do not tell. Prints a
# line for each check and fails if one does.
# Usage: doctor.sh [--keep FOLDER] [BOARD]...
# BOARD is pi-3 (QEMU's raspi3b), pi-4, pi-5 or orin-nano (QEMU's virt under their names); without one, all of them. pi-4 runs without its memory controller.
# --keep leaves in FOLDER/BOARD what the commands wrote, and the files of the board that boards/detect reads, as a fixture.
# As root on Debian, with Go. 5 to 10 minutes a board on two busy cores; BIMAMBA_BOARD_CACHE as for build.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
keep='' boards=()
while [ $# -gt 0 ]; do
	case $1 in
	--keep) [ $# -ge 2 ] || usage && keep=$(realpath -m "$2") && shift 2 ;;
	pi-3 | pi-4 | pi-5 | orin-nano) boards+=("$1") && shift ;;
	*) usage ;;
	esac
done
[ ${#boards[@]} -gt 0 ] || boards=(pi-3 pi-4 pi-5 orin-nano)
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
"$here/build.sh" >/dev/null

files=$(mktemp -d)
name=doctor-$$
finish() {
	"$here/boot.sh" --stop $name
	rm -rf "$files"
}
trap finish EXIT
CGO_ENABLED=0 GOARCH=arm64 go build -trimpath -ldflags='-s -w' -o "$files/bimamba" ./cmd/bimamba
gzip -9 "$files/bimamba"

# board ID MODEL CORE CORES MIB STORAGE OPTION...: boots it with options of boot.sh, and checks that it is that.
board() {
	local id=$1 model=$2 core=$3 cores=$4 mib=$5 storage=$6 run qemu
	shift 6
	run=$("$here/boot.sh" --name $name "$@" $suite) || return
	echo "board: $model, Debian $suite"
	on() { ssh -F "$run/ssh_config" board "$@"; }
	on 'gunzip >/usr/bin/bimamba && chmod 0755 /usr/bin/bimamba' <"$files/bimamba.gz"
	cat "$here/checks.sh" "$here/doctor-checks.sh" | on bash -s -- "$id" "'$model'" "$core" "$cores" "$mib" "$storage" || failed=1
	if [ -n "$keep" ]; then
		mkdir -p "$keep/$id"
		on tar -C /root/doctor -c . | tar -C "$keep/$id" -x
		qemu=$(qemu-system-aarch64 --version | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p')
		[ "$id" = pi-3 ] && qemu="QEMU $qemu raspi3b" || qemu="QEMU $qemu virt as $model"
		"$here/capture.sh" "$run" "$qemu" >"$keep/$id/board.txtar"
	fi
	"$here/boot.sh" --stop $name
}

# Names as the device trees of Linux have them: arch/arm64/boot/dts/{broadcom,nvidia}.
failed=0
for b in "${boards[@]}"; do
	case $b in
	pi-3) board pi-3 'Raspberry Pi 3 Model B' Cortex-A53 4 1024 sd --machine raspi3b ;;
	pi-4) board pi-4 'Raspberry Pi 4 Model B Rev 1.4' Cortex-A72 4 1024 virtual --cpu cortex-a72 --smp 4 --mem 1024 --model 'Raspberry Pi 4 Model B Rev 1.4' \
		--compatible raspberrypi/4-model-b --compatible brcm/bcm2711 --append cgroup_disable=memory ;;
	pi-5) board pi-5 'Raspberry Pi 5 Model B Rev 1.0' Cortex-A76 4 2048 virtual --cpu cortex-a76 --smp 4 --mem 2048 --model 'Raspberry Pi 5 Model B Rev 1.0' \
		--compatible raspberrypi/5-model-b --compatible brcm/bcm2712 ;;
	orin-nano) board orin-nano 'NVIDIA Jetson Orin Nano Developer Kit' Cortex-A76 2 4096 virtual --cpu cortex-a76 --smp 2 --mem 4096 \
		--model 'NVIDIA Jetson Orin Nano Developer Kit' --compatible nvidia/p3768-0000+p3767-0005 --compatible nvidia/p3767-0005 --compatible nvidia/tegra234 ;;
	esac
done
exit $failed
