// Package man writes manual pages, in the macros of man(7): of the commands of a cobra program, and of what a program without cobra says about its options.
package man
