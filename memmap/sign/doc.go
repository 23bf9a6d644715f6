// Package sign signs blobs and checks their signatures, in the formats of minisign (jedisct1.github.io/minisign): keys and signatures may come from that program
// and go to it.
//
// What is signed of a blob is its head, preamble and manifest: they hold the SHA-256 of every tensor, so that a daemon that starts need not read the whole file to
// know whose it is. The tensors themselves are checked by memmap.File.Verify, and page by page as they are read by a kernel with fs-verity (see [Digest]),
// whose digest the signature carries in its trusted comment.
package sign
