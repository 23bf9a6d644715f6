// Package ext4 reads files, directories and symbolic links of ext2, ext3 and ext4 file systems. It writes nothing, and checks no checksums.
//
// It reads what images of boards have: extents and block maps, group descriptors of 32 and 64 bytes, hashed directories (as lists), blocks of 1 to 64 KiB.
// Every length that the file system states is limited, so that a damaged or hostile one costs little.
//
// Source: the kernel's Documentation/filesystems/ext4 (on-disk format).
package ext4
