//go:build !(amd64 || arm64) || purego || noasm

package pool

// pause does nothing.
func pause() {}
