// Package layout defines how numbers lie in a model file: the tiles of a 1-bit matrix, half floats and
// 8-bit rows. The converter writes these forms and the kernels of package neon read them; both use the definitions here.
package layout
