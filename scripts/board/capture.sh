#!/usr/bin/env bash
# Prints the files that package boards/detect reads of a board, as its fixtures have them (boards/detect/testdata): a txtar archive, in which binary files are
# written so that they can be read.
# Usage: capture.sh FOLDER NAME     FOLDER is what boot.sh prints, NAME what the first line calls the board
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# -eq 2 ] || usage
ssh -F "$1/ssh_config" board sh -s -- "'$2'" <<-'END'
	set -eu
	cd /
	echo "# captured in $1, kernel $(uname -r), $(. /etc/os-release && echo "$PRETTY_NAME")"
	file() { echo "-- $1 --"; cat; }
	bits() { # of a program, by its fifth byte, and its machine
		case $(od -An -tu1 -j4 -N1 "$1" | tr -d ' ') in 2) echo 64 ;; 1) echo 32 ;; esac
		case $(od -An -tu2 -j18 -N2 "$1" | tr -d ' ') in 183) echo aarch64 ;; esac
	}
	tree=sys/firmware/devicetree/base
	for f in model compatible serial-number; do
		[ ! -e $tree/$f ] || tr '\0' '\n' <$tree/$f | file $tree/$f
	done
	for d in $tree/fw-cfg@*; do
		[ ! -d $d ] || tr '\0' '\n' <$d/compatible | file $d/compatible
	done
	echo "6 $(getconf PAGESIZE)" | file proc/self/auxv
	for f in bin/sh proc/self/exe; do echo "elf $(bits $f | xargs)" | file $f; done
	for f in proc/sys/kernel/osrelease proc/sys/kernel/arch proc/cmdline proc/cpuinfo proc/meminfo proc/swaps proc/self/mountinfo proc/self/status etc/os-release etc/group \
		sys/fs/cgroup/cgroup.controllers sys/devices/system/cpu/present sys/devices/system/cpu/online sys/devices/system/cpu/cpu*/cpu_capacity \
		sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq sys/devices/system/cpu/cpu*/cpufreq/scaling_governor \
		sys/devices/system/cpu/cpu*/cpufreq/scaling_driver sys/class/hwmon/hwmon*/name sys/class/hwmon/hwmon*/in0_lcrit_alarm sys/class/dmi/id/sys_vendor \
		sys/class/dmi/id/product_name boot/firmware/cmdline.txt boot/cmdline.txt boot/extlinux/extlinux.conf etc/default/grub; do
		[ ! -e $f ] || file $f <$f
	done
	for f in dev/vcio_gencmd dev/vcio dev/i2c-*; do
		[ ! -e $f ] || file $f </dev/null
	done
	for d in sys/class/block/*; do
		case $d in *loop* | *ram*) continue ;; esac
		# The whole devices are links that tell their bus; what is below them is where the links lead.
		[ -e $d/partition ] || echo "link $(readlink $d)" | file $d
		to=$d
		[ -e $d/partition ] || to=sys/$(readlink $d | sed 's,^\(\.\./\)*,,')
		for f in dev size partition device/model device/name device/type; do
			[ ! -e $d/$f ] || file $to/$f <$d/$f
		done
	done
END
