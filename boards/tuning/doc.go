// Package tuning is the file in which `bimamba doctor --tune` keeps what it measured of a board: how many threads and which prefetch distance suit it, and how
// fast its memory and the kernels are. The command and the daemon choose by it, and plans take their bandwidth from it.
//
// A file belongs to one board and one set of kernels; [File.Matches] tells whether it is this one's. Nothing in it changes a result: it is about speed alone.
package tuning
