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
