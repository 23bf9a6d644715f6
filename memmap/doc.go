// Package memmap reads and writes the blob: the one file that holds a model (".bimamba").
//
// A blob is a fixed preamble, a MessagePack manifest and page-aligned sections whose bytes are used
// where they lie, memory-mapped, on every CPU. FORMAT.md in this directory is its specification.
//
// # Reading
//
// [Open] maps a file read-only and checks every offset, length, overlap, alignment and shape before
// anything behind the manifest is touched; what it accepts can be indexed without further checks.
// It does not read the tensors: [File.Verify] does, against their checksums.
//
// A file on removable storage can shrink while it is mapped. Touching what is gone raises SIGBUS, which
// would end the process; code that touches mapped bytes runs inside [File.Guard], which turns the
// fault into a [FaultError] for the request that met it.
//
// # Writing
//
// [NewWriter] plans a file from a manifest without offsets, takes the tensors' bytes in any order
// and writes preamble and manifest last, so that an interrupted file is never mistaken for a whole one.
package memmap
