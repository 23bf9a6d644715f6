package neon

import "sync/atomic"

// Distances of SetPrefetch, in bytes.
const (
	DefaultPrefetch = 1024     // at the start
	MaxPrefetch     = 16 << 10 // half of a small core's first-level cache: lines from farther ahead push one another out
)

var prefetchAhead atomic.Int64

func init() { prefetchAhead.Store(DefaultPrefetch) }

// SetPrefetch sets how far ahead of the weights and states in use the kernels ask memory for a line: from 0, the line that they read next, which is as good as
// not asking, to MaxPrefetch bytes; what is beyond counts as the nearer end. No result depends on it. Calls of kernels that have begun go on as they are.
//
// The kernels for arm64 take it, [Prefetch] tells; those for amd64 have distances of their own, and those in Go leave it to the CPU.
func SetPrefetch(bytes int) { prefetchAhead.Store(int64(min(max(bytes, 0), MaxPrefetch))) }

// Prefetch is the distance that SetPrefetch set, and whether the kernels in use take it.
func Prefetch() (bytes int, taken bool) { return int(prefetchAhead.Load()), asmPrefetch() }
