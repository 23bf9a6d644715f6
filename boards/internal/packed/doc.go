// Package packed reads disk images as they are published: plain, or packed by gzip or xz. Other packings are refused with the command that unpacks them.
//
// Sources: RFC 1952 (gzip), The .xz File Format 1.1.0.
package packed
