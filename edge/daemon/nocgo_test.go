//go:build !cgo

package daemon

func usesCgo() bool { return false }
