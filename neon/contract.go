package neon

//go:generate go run -C gen/amd64 . ../..
//go:generate go run -C gen/arm64 . -out ../..

// The contract of the kernels in assembly. Every exported function first offers its work to an asm function, which is there once for each
// architecture (asm_amd64.go, asm_arm64.go; asm_none.go does nothing), and does in Go what that leaves:
//
//   - those that return an int, or an n, have done the first n elements, as many as suit them (0 with the portable kernels);
//   - those that return a bool have done everything or nothing. They may refuse shapes that no real model has.
//
// What they do is defined by the portable code behind the call, bit for bit; a NaN may be any NaN. They read and write nothing outside of the
// slices, whose addresses are aligned as their elements are and no better.
//
//	asmKernels      names of the sets that this CPU can run, the fastest last
//	asmUse          switches to one of them, or to Portable
//	asmPrefetch     tells whether the set in use takes the distance of SetPrefetch
//
//	asmLUT          dst (64*tiles) = or += the product of the lines of adjacent tiles, which follow one another, and the tables of one block:
//	                len(tables)/f.line() lines a tile, a scale for each unit of them (f.unit of the block's width); add: += (see LUT.addBlock)
//	asmLUTPair      asmLUT for the tables of two tokens and an even number of tiles
//	asmGroupMax     the largest bits of fl(fl(|x0|+|x1|)+fl(|x2|+|x3|)) over the groups of x[:n], n a multiple of 4 (see groupMax)
//	asmTables       the tables of x[:n], n a multiple of 8; there may be more tables than x needs (see fillTables)
//	asmMaxAbs       the largest bits of |x[:n]| (see largest)
//	asmQuantize     q, hi, lo and shift of x[:n], n a multiple of 4 (see Q14.Quantize)
//	asmI8, asmI4    rows of 8-bit and 4-bit matrices times a Q14 (see I8MatVec, I4MatVec); asmI8 gets at most asmCols columns
//	asmDense        rows of a dense matrix times x (see MatVec)
//	asmDot, asmSum  add the first n products or elements, n a multiple of 16, to the lanes (see lanes.add, Sum)
//	asmScale, asmMul, asmAdd, asmAddScalar      element by element; dst may be x
//	asmMulAdd       dst[i] = fl(dst[i] + fl(x[i]*y[i])), rounded twice
//	asmExp, asmSoftplus, asmSiLU                element by element; dst may be x
//	asmRead         the exclusive or of the 8-byte words of b[:n] (see Read), at the speed of memory
//	asmState, asmStateF16                       the rows of a head's state (see StateUpdate)
