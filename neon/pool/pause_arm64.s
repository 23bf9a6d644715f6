//go:build !purego && !noasm

#include "textflag.h"

// func pause()
// ISB holds an in-order core for some tens of cycles; YIELD is a NOP on most.
TEXT ·pause(SB), NOSPLIT, $0-0
	ISB $15
	RET
