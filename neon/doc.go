// Package neon multiplies: the kernels of the forward pass over memory-mapped weights.
//
// # The arithmetic
//
// The portable Go code here defines the result of every kernel bit for bit, on every CPU; assembly has to reproduce it.
// All of it is float32 with each operation rounded by itself: the Go compiler may fuse x*y+z on arm64 and does not on amd64,
// so every product that is added stands in an explicit conversion, float32(x*y)+z. In the formulas fl is one such rounding.
//
// A reduction over a vector runs in 16 lanes: element i is added to lane i mod 16, in the order of i; then lane j takes lane j+8 (j < 8),
// then j+4, j+2 and j+1. That is four NEON registers, two of AVX2, one of AVX-512.
//
// Two precisions multiply by 1-bit and 8-bit weights. The integer one (LUT16, Q14) rounds the inputs to 14 bits and adds
// integers, which is exact, so that the order of its sums does not matter. The exact one adds float32 in a fixed order.
//
// A NaN in an input comes out as NaN wherever it has a part in a result; which NaN is not defined. An Inf comes out as Inf or NaN, except through Exp, which is clamped.
//
// # Threads and memory
//
// No kernel allocates, and none keeps what it is given. Those that write rows take a range of them, so that threads can share a product.
// Lengths are the caller's business: a slice that is too short panics.
package neon
