// Package fat reads and changes FAT16 and FAT32 file systems in place.
//
// [Open] reads the whole of a file system's tables and directories and refuses what is damaged in any way, so that nothing is ever written to it. [Volume.Apply]
// takes a list of changes, computes all of them in memory, and writes only if all fit. What it writes first is new, and not reachable: contents and new directories;
// then the tables, in which nothing is free yet that was in use; then the directories that existed; then the tables with what has become free. A crash at any
// moment leaves every file that was there either as it was or as it was to become, and at worst clusters that nobody uses, which fsck.fat(8) frees.
//
// Source: Microsoft Extensible Firmware Initiative FAT32 File System Specification, version 1.03; long names as in VFAT.
package fat
