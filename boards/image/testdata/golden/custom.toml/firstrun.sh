#!/bin/sh
# Written by `bimamba image`: systemd runs it once, at the first boot, and it removes itself. It may be cut off at any moment and run again.
set -u
root=${BIMAMBA_ROOT:-}
firmware=$root/boot/firmware

main() {
	# Whether that ends well or not, the next boot is an ordinary one: what went wrong is in bimamba-error.txt on this partition, and install.sh can be run again.
	[ ! -f "$firmware/bimamba/install.sh" ] || sh "$firmware/bimamba/install.sh"
	sed 's/ systemd\.run=\/boot\/firmware\/firstrun\.sh systemd\.run_success_action=reboot systemd\.unit=kernel-command-line\.target//' "$firmware/cmdline.txt" >"$firmware/cmdline.new" && [ -s "$firmware/cmdline.new" ] || exit 1
	sync
	mv -f "$firmware/cmdline.new" "$firmware/cmdline.txt"
	sync
	rm -f "$firmware/firstrun.sh"
	sync
	exit 0
}
main
