//go:build (amd64 || arm64) && !purego && !noasm

package pool

// pause keeps a core quiet for some tens of nanoseconds.
func pause()
