#!/usr/bin/env bash
# Boots an image of build.sh as an emulated board, in the background, and waits until it answers. As a board's firmware does, it reads kernel, initrd and
# cmdline.txt from the image's FAT partition. The board reaches no network, and nobody but this machine reaches it, unless --tap puts it into one.
# Usage: boot.sh [OPTION]... IMAGE     a file, or trixie, which build.sh makes
#   --name NAME        of the board (board); its files are in run/NAME of the cache
#   --machine NAME     virt, or raspi3b, a Raspberry Pi 3 with SD card (virt)
#   --cpu NAME         as QEMU knows it (cortex-a72); raspi3b has four cortex-a53
#   --mem MIB          (512); raspi3b has 1024
#   --smp N            cores (2)
#   --model TEXT       what the device tree of virt calls the board
#   --compatible A/B   the vendor and board that it says it is; may be given several times
#   --forward HOST:BOARD   a port of 127.0.0.1 that leads to one of the board's; may be given several times
#   --tap NAME/IP      the board's network is the one behind this interface, where it will have this address
#   --append TEXT      more arguments for the kernel
#   --keep             write to the image; without it each boot starts from the image as it was built
#   --wait ssh|exit    until the board answers (ssh), or until it switched itself off, or started again: to QEMU that comes to the same
# Prints the board's folder, with ssh_config ("ssh -F FOLDER/ssh_config board COMMAND"), console.log and qemu.pid.
#        boot.sh --stop [NAME]   switches it off
set -euo pipefail
. "$(dirname "$0")/lib.sh"
name=board machine=virt cpu=cortex-a72 mem=512 smp=2 model='' tap='' append='' keep='' wait=ssh image='' stop='' compatible=() forward=()
while [ $# -gt 0 ]; do
	case $1 in
	--keep) keep=1 && shift && continue ;;
	--stop) stop=1 name=${2:-board} && break ;;
	--*) [ $# -ge 2 ] || usage ;;&
	--name) name=$2 ;;
	--machine) machine=$2 ;;
	--cpu) cpu=$2 ;;
	--mem) mem=$2 ;;
	--smp) smp=$2 ;;
	--model) model=$2 ;;
	--compatible) compatible+=("${2/\//,}") ;;
	--forward) forward+=("$2") ;;
	--tap) tap=$2 ;;
	--append) append=$2 ;;
	--wait) wait=$2 ;;
	-*) usage ;;
	*) image=$1 && shift && continue ;;
	esac
	shift 2
done
[[ $name =~ ^[a-z0-9-]+$ && $wait =~ ^(ssh|exit)$ ]] || usage
run=$cache/run/$name

# pid is that of the board's emulator, if it runs: another process may have its number by now.
pid() {
	local p
	p=$(cat "$run/qemu.pid" 2>/dev/null) && grep -qsF "$run/qemu.pid" "/proc/$p/cmdline" && echo "$p"
}
if [ -n "$stop" ]; then
	if p=$(pid); then
		ssh -F "$run/ssh_config" board systemctl poweroff 2>/dev/null || true
		ssh -F "$run/ssh_config" -O exit board 2>/dev/null || true
		for _ in $(seq 60); do
			kill -0 "$p" 2>/dev/null || break
			sleep 1
		done
		! kill "$p" 2>/dev/null || echo "boot: $name did not switch itself off" >&2
	fi
	rm -f "$run"/{disk.qcow2,initrd.img,kernel8.img} # the logs stay
	exit
fi

[ -n "$image" ] || usage
[[ $image =~ ^[a-z]+$ ]] && image=$cache/$image.img
[ -s "$image" ] || die "there is no $image; build.sh makes one"
need qemu-system-aarch64:qemu-system-arm qemu-img:qemu-utils mcopy:mtools fdtput:device-tree-compiler ssh:openssh-client
! pid >/dev/null || die "$name runs already; boot.sh --stop $name"
rm -rf "$run"
mkdir -p "$run"
from_fat() { mcopy -n -i "$image@@$fat_offset" "::$1" "$run/$1" || die "$1 is not in the boot partition of $image"; }
from_fat kernel8.img
from_fat initrd.img
from_fat cmdline.txt
disk=$(realpath "$image") format=raw
if [ -z "$keep" ]; then
	qemu-img create -q -f qcow2 -F raw -b "$disk" "$run/disk.qcow2"
	disk=$run/disk.qcow2 format=qcow2
fi

if [ -n "$tap" ]; then
	address=${tap#*/} port=22 known=$address
	net="tap,id=net,ifname=${tap%/*},script=no,downscript=no"
else
	# A port that nobody listens at, for ssh.
	port=$((20000 + RANDOM % 20000))
	while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((20000 + RANDOM % 20000)); done
	address=127.0.0.1 known="[127.0.0.1]:$port"
	net="user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:$port-:22"
	for f in "${forward[@]}"; do net+=",hostfwd=tcp:127.0.0.1:${f%:*}-:${f#*:}"; done
fi
cat >"$run/ssh_config" <<-END
	Host board
	HostName $address
	Port $port
	User root
	IdentityFile $cache/id_ed25519
	IdentitiesOnly yes
	BatchMode yes
	UserKnownHostsFile $run/known_hosts
	StrictHostKeyChecking yes
	ConnectTimeout 20
	LogLevel ERROR
	# A login takes a busy emulator half a minute.
	ControlMaster auto
	ControlPath $run/ssh
	ControlPersist 600
	ServerAliveInterval 30
	ServerAliveCountMax 6
END
echo "$known $(cut -d' ' -f1,2 "$cache/host_ed25519.pub")" >"$run/known_hosts"

case $machine in
virt)
	[ "$cpu" != max ] || cpu=max,pauth-impdef=on # the architecture's own signature of pointers is slow to emulate
	base=(-M virt,gic-version=2 -cpu "$cpu" -m "$mem" -smp "$smp")
	args=("${base[@]}" -drive "if=none,id=disk,format=$format,file=$disk" -device virtio-blk-pci,drive=disk
		-netdev "$net" -device virtio-net-pci,netdev=net,romfile= -object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng
		-serial "file:$run/console.log")
	console=ttyAMA0
	if [ -n "$model" ] || [ ${#compatible[@]} -gt 0 ]; then
		# The tree that QEMU would make for this processor and memory, with other names in it.
		qemu-system-aarch64 "${base[@]}" -machine dumpdtb="$run/board.dtb" -display none >/dev/null 2>&1 || die "QEMU writes no device tree"
		[ -z "$model" ] || fdtput -t s "$run/board.dtb" / model "$model"
		[ ${#compatible[@]} -eq 0 ] || fdtput -t s "$run/board.dtb" / compatible "${compatible[@]}" linux,dummy-virt
		fdtput -t s "$run/board.dtb" / serial-number 10000000b0a4d001 # where a Pi's firmware puts it
		args+=(-dtb "$run/board.dtb")
	fi
	;;
raspi3b)
	from_fat bcm2837-rpi-3-b.dtb
	# The first serial port belongs to Bluetooth.
	args=(-M raspi3b -dtb "$run/bcm2837-rpi-3-b.dtb" -drive "if=sd,format=$format,file=$disk" -netdev "$net" -device usb-net,netdev=net,port=1
		-serial null -serial "file:$run/console.log")
	console=ttyS1,115200
	append="modprobe.blacklist=cdc_subset $append" # takes the card before cdc_ether does, at times, and gives it an address by chance
	;;
*) usage ;;
esac
[ "$wait" = ssh ] || args+=(-no-reboot) # it would start again with the arguments of this boot, and not with those that cmdline.txt has by then
# A busy machine takes longer than the 90 seconds after which systemd gives a disk up.
nice -n 10 qemu-system-aarch64 "${args[@]}" -accel tcg,thread=multi -kernel "$run/kernel8.img" -initrd "$run/initrd.img" \
	-append "$(tr '\n' ' ' <"$run/cmdline.txt") console=$console systemd.show_status=error systemd.default_device_timeout_sec=600 $append" -display none -pidfile "$run/qemu.pid" </dev/null >"$run/qemu.log" 2>&1 &
qemu=$!
until [ "$wait" = ssh ] && ssh -F "$run/ssh_config" board true >/dev/null 2>"$run/ssh.log"; do
	if ! kill -0 "$qemu" 2>/dev/null; then
		[ "$wait" = ssh ] || break
		tail -n 5 "$run/qemu.log" "$run/console.log" >&2
		die "the emulator ended"
	fi
	if [ $SECONDS -gt 1800 ]; then
		tail -n 20 "$run/console.log" >&2
		kill "$qemu"
		die "no answer after half an hour; what the board said is in $run/console.log"
	fi
	sleep 1
done
echo "boot: $name: $SECONDS s" >&2
echo "$run"
