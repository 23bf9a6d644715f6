// Package image puts files and settings into an operating system's image for a card: no root, no mount, no other programs.
//
// [Build] unpacks the base image, looks at its partitions, finds out which way of setting itself up at first boot the system understands ([Format]), and writes to
// the FAT boot partition only. What is for other places waits there until the board itself, at its first boot, moves it: each file appears whole or not at all,
// the mark that all is done comes last, and what is secret is overwritten then. The ext4 root is read, never written: writers of ext4 outside the kernel have
// damaged file systems with the features that Raspberry Pi OS is made with.
//
// The formats, and where they are defined: firstrun.sh (Raspberry Pi Imager's "systemd" format), cloud-init's NoCloud data source, custom.toml of
// raspberrypi-sys-mods, and rpi-preseed.toml of rpi-preseed.
package image
