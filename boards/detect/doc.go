// Package detect says what board this is and what is wrong with it: the model, its cores, memory, storage and system, the kernels of package neon that run on
// it, and the settings of real boards that keep a language model from running well, each with the command that mends it.
//
// [Read] takes all of it from files below an fs.FS, os.DirFS("/") on a board: the device tree, /proc and /sys. What a file does not say, or says in a way that
// cannot be right, is left out and listed in [Board.Missing] with the reason; it is never guessed and never 0. [Examine] turns a board into findings.
//
// The only things that are measured are the speed of storage ([ReadSpeed]) and, with [Tune], that of memory and of the kernels.
package detect
