// Package flash writes disk images to cards and other removable disks, and to files.
//
// [Devices] says what disks there are and [Device.Refuse] why one is not written to: it holds the running system, is mounted, is swap, is part of another device, or
// is not removable. No option overrides that. [Open] opens an image, [Image.WriteDevice] and [Image.WriteFile] write it.
//
// # What is on a card that was not finished
//
// A device is written from its second 4 MiB on; the first 4 MiB, where the partition table is, are blank until all others were written, read back past the page
// cache and compared by SHA-256. So a card on which writing ended early, however it ended, has no partition table: nothing mounts it and no board starts from it.
// The next run of the same image on it compares first and writes from the first difference on. What it goes on from is what the card holds, not what a note about it says.
//
// # Block maps
//
// With a block map only the blocks that the image uses are written, and each range is checked against the map's SHA-256 on the way. Source: bmaptool's format 2.0,
// as its documentation and the files that it writes define it.
package flash
