// Package bmap reads and writes block maps: which blocks of a disk's image are in use, with checksums. Others need not be written to a disk.
//
// Source: bmaptool's format 2.0 (the comments in the files that it writes).
package bmap
