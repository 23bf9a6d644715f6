# What the scripts of this folder share; they source it.
export PATH=$PATH:/usr/sbin:/sbin
cache=${BIMAMBA_BOARD_CACHE:-$HOME/.cache/bimamba-board}
suite=trixie                # its systemd and kernel are those of today's Raspberry Pi OS
disk_id=b0a4d001            # of the image's partition table: the kernel finds the root as PARTUUID=b0a4d001-02
fat_offset=$((8192 * 512))  # of the boot partition in the image, in bytes
export MTOOLS_SKIP_CHECK=1  # mtools would refuse a size that is no whole number of tracks

die() {
	echo "$(basename "$0"): $*" >&2
	exit 1
}

# usage prints the comment at the top of the script.
usage() {
	sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | grep -v '^set ' >&2
	exit 2
}

# need installs nothing: it names the packages of the programs that are missing. Arguments are PROGRAM:PACKAGE.
need() {
	local p missing=()
	for p in "$@"; do
		command -v "${p%%:*}" >/dev/null || missing+=("${p##*:}")
	done
	[ ${#missing[@]} -eq 0 ] || die "missing; run: apt-get install --no-install-recommends ${missing[*]}"
}

# pi4 is how boot.sh makes a Raspberry Pi 4 with 512 MB of QEMU's virt.
pi4=(--cpu cortex-a72 --mem 512 --smp 2 --model 'Raspberry Pi 4 Model B Rev 1.4' --compatible raspberrypi/4-model-b --compatible brcm/bcm2711)

# build_arm64 FOLDER [LDFLAGS]: the board's programs.
build_arm64() { CGO_ENABLED=0 GOARCH=arm64 go build -trimpath -ldflags="${2--s -w}" -o "$1/" ./cmd/bimamba ./cmd/bimambad; }

# fsck IMAGE: what there is to say against its file systems. $files is for copies.
fsck() {
	dd if="$1" of="$files/boot" bs=1M skip=$((fat_offset >> 20)) count=256 status=none
	dd if="$1" of="$files/root" bs=1M skip=$(((fat_offset >> 20) + 256)) conv=sparse status=none
	fsck.fat -n "$files/boot" | grep -v '^fsck.fat\|files, .*clusters$' || true
	e2fsck -fn "$files/root" 2>/dev/null | grep -v '^Pass \|files ([0-9]' || true
	rm -f "$files/boot" "$files/root"
}

# What follows is for a board that runs; its folder is $run.
on() { ssh -F "$run/ssh_config" board "$@"; }
answers() { on 'curl -sS -m 60 -H "Authorization: Bearer $(cat /var/lib/bimamba/token 2>/dev/null)" -d "{\"model\":\"default:home\",\"messages\":[{\"role\":\"user\",\"content\":\"turn on the kitchen lights\"}]}" http://127.0.0.1:11434/v1/chat/completions' | grep -q HassTurnOn; }

# deploy is done by $bimamba as pi, who is not root but may use sudo. What it says is in $files/out.
deploy() {
	"$bimamba" deploy --ssh-config "$run/ssh_config" "$@" >"$files/out" 2>&1 || {
		tail -n 8 "$files/out"
		return 1
	}
}
fails() { # WHAT IT SAYS, then deploy's arguments
	local want=$1
	shift
	! deploy "$@" && grep -q -- "$want" "$files/out" || {
		tail -n 8 "$files/out"
		return 1
	}
}
slot() { on /opt/bimamba/bin/bimamba slot "$@"; }
status() { slot status --json | sed -n "s/.*\"$1\":\"\([0-9a-f]*\)\".*/\1/p"; }
serves() { # VERSION
	is "$(status current)" "$1" && slot health "$1" && is "$(slot status --json | grep -c '"trial":null')" 1
}
