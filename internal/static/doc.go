// Package static checks that a program needs nothing of the machine that it is brought to: no library, no loader, and no other processor.
package static
