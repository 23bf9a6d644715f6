#!/bin/sh
# Moves what `bimamba image` left on the boot partition to its places, at the first boot. It may be cut off at any moment and run again: each file appears
# whole, by rename, the mark that all is done comes after them, and only then are they removed here. With "start" it starts the daemon, too.
set -u
root=${BIMAMBA_ROOT:-}
id=e95c69d60f4845eef5aaa8280b6e4a28
mark=$root/etc/bimamba/image-id

fail() {
	echo "bimamba: first boot: $*; when that is mended: sudo sh $here/install.sh start" | tee "$firmware/bimamba-error.txt" >&2
	sync
	exit 1
}

sum() { sha256sum <"$1" | cut -d ' ' -f 1; }

# put SHA256 MODE NAME PATH
put() {
	to=$root$4
	if [ ! -f "$to" ] || [ "$(sum "$to")" != "$1" ]; then
		mkdir -p "${to%/*}" || fail "no directory for $4"
		rm -f "$to.bimamba"
		cp "$here/$3" "$to.bimamba" || fail "no room for $4 ($(df -Pk "${to%/*}" | awk 'END { print $4 }') KiB are left)"
		[ "$(sum "$to.bimamba")" = "$1" ] || fail "$3 is damaged: flash the card again"
		sync
		mv -f "$to.bimamba" "$to" || fail "$4 cannot be put in place"
	fi
	chmod "$2" "$to"
}

# wipe FILE overwrites what was secret, and removes it. The card's own electronics may keep a copy.
wipe() {
	[ -f "$1" ] || return 0
	dd if=/dev/zero of="$1" bs="$(wc -c <"$1")" count=1 conv=notrunc,fsync 2>/dev/null
	rm -f "$1"
}

main() {
	here=$(cd "$(dirname "$0")" && pwd) || exit 1
	firmware=${here%/*}
	if [ "$(cat "$mark" 2>/dev/null)" != "$id" ]; then
		while read -r sha mode name path; do
			put "$sha" "$mode" "$name" "$path"
		done <"$here/manifest" || exit 1
		systemd-sysusers || fail "systemd-sysusers failed"
		systemd-tmpfiles --create || true # other files' faults are none of ours
		systemctl daemon-reload || fail "systemctl daemon-reload failed"
		systemctl enable bimambad.socket bimambad.service || fail "systemctl enable failed"
		sync
		mkdir -p "${mark%/*}"
		echo "$id" >"$mark.bimamba" && sync && mv -f "$mark.bimamba" "$mark" || fail "$mark cannot be written"
		sync
	fi
	if [ "${1:-}" = start ]; then
		systemctl --no-block start bimambad.socket bimambad.service || true
	fi
	rm -f "$firmware/bimamba-error.txt"
	rm -rf "$here"
	sync
	exit 0
}
main "$@"
