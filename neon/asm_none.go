//go:build !(amd64 || arm64) || purego || noasm

package neon

// Kernels in assembly: none here. contract.go says what each has to do.

func asmKernels() []string { return nil }
func asmUse(string)        {}
func asmPrefetch() bool    { return false }

func asmLUT(dst []float32, lines, tables []byte, scale []float32, f Form, add bool) bool {
	return false
}
func asmGroupMax(x []float32) (bits uint32, n int)                  { return 0, 0 }
func asmTables(tables []byte, x []float32, inv float32, f Form) int { return 0 }
func asmMaxAbs(x []float32) (bits uint32, n int)                    { return 0, 0 }
func asmQuantize(q *Q14, x []float32, inv float32) int              { return 0 }
func asmI8(dst []float32, w []byte, scale []float32, q *Q14) bool   { return false }
func asmI4(dst []float32, w, scale []byte, q *Q14) bool             { return false }
func asmDense(dst []float32, w []byte, elem Elem, x []float32) bool { return false }
func asmDot(l *lanes, x, y []float32) int                           { return 0 }
func asmSum(l *lanes, x []float32) int                              { return 0 }
func asmScale(dst, x []float32, k float32) int                      { return 0 }
func asmMul(dst, x, y []float32) int                                { return 0 }
func asmAdd(dst, x, y []float32) int                                { return 0 }
func asmAddScalar(dst, x []float32, k float32) int                  { return 0 }
func asmMulAdd(dst, x, y []float32) int                             { return 0 }
func asmExp(dst, x []float32) int                                   { return 0 }
func asmSoftplus(dst, x []float32) int                              { return 0 }
func asmSiLU(dst, x []float32) int                                  { return 0 }
func asmState(y, s, x, b, c []float32, da, dt, d float32) bool      { return false }
func asmStateF16(y []float32, s []uint16, x, b, c []float32, da, dt, d float32) bool {
	return false
}
func asmRead(b []byte) (x uint64, n int) { return 0, 0 }

func asmLUTPair(dst0, dst1 []float32, lines, tables0, tables1 []byte, scale0, scale1 []float32, f Form, add bool) bool {
	return false
}
