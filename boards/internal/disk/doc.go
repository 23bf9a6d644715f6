// Package disk reads partition tables: MBR with primary partitions, and GPT with checked sums. It writes nothing.
//
// Sources: UEFI specification 2.10, chapter 5 (GPT disk layout, legacy MBR).
package disk
