// Package deb writes Debian packages, and the index of a repository of them, without Debian's tools.
//
// A package is the format 2.0 of deb(5): an ar(1) archive of the version, control.tar.gz and data.tar.gz. Members are compressed by gzip, which every dpkg reads;
// that of Debian 12 reads no zstd. The same [Package] is the same bytes on every machine: files are sorted, belong to root and are as old as [Package.Time].
//
// [Package.Write] writes a package, [ReadControl] reads the part of one that a repository's index repeats, and [Repository] writes that index. Signing it is
// left to its caller.
package deb
