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
// Products with 1-bit, 4-bit and 8-bit weights round the inputs to integers (LUT, Q14) and add integers, which is exact, so that the order of
// these sums does not matter. Beside them there are exact forms that add float32 in a fixed order.
//
// A NaN in an input comes out as NaN wherever it has a part in a result; which NaN is not defined. An Inf comes out as Inf or NaN, except through Exp, which is clamped.
//
// # Kernels
//
// Beside the portable code there are sets of kernels in assembly: neon on arm64, which needs no more than ARMv8.0 and takes SDOT for 8-bit weights where the
// CPU has it, avx2 and avx512 on amd64. The fastest that the CPU can run is chosen at start; the environment variable BIMAMBA_KERNEL, or [Use], names another.
// The build tags purego and noasm leave them out. They are written by the programs in gen/amd64 and gen/arm64.
//
// # Threads and memory
//
// No kernel allocates, and none keeps what it is given but for [LUT.Measure]. Those that write rows take a range of them, so that threads can share a product.
// Lengths are the caller's business: a slice whose capacity is too small panics.
package neon
