// Package slot is the board's side of deployments: versions of daemon, program and model beside each other, one of which is current, and a trial that ends in
// the old version unless somebody confirms the new one in time.
//
// # Files
//
// All of it is below /opt/bimamba:
//
//	versions/ID/            bimambad, bimamba, model.bimamba, service.conf, ...; ID is from the SHA-256 of its manifest
//	versions/ID/manifest.json   its files with sizes and checksums; written last: a version without it is not whole. Until then it is offer.json
//	current                 a symbolic link to versions/ID, replaced by rename(2); to none: what a package installed serves
//	none/                   service.conf and slice.conf that change nothing: systemctl enable fails where a drop-in leads nowhere
//	state.json              the versions that were confirmed, in order, and the trial
//	state.undo, current.undo    what a rollback renames to the two above, made beforehand: a rollback takes no space on a full disk
//	bin/bimamba             the program of the version that was confirmed last: a rollback never depends on a program that is itself on trial
//	lock, state.lock        flock(2): of a deployer's session, and of a change of the state
//	log                     what happened, a line each
//
// Versions are never changed once they are whole. Files that two of them share are one file with two names.
//
// # A trial
//
// [Store.Activate] records a trial, then switches, then starts the daemon again. The trial ends with [Store.Confirm], or in the old version: with
// [Store.Rollback], with [Store.Failed] when the daemon ended badly (its ExecStopPost=, so for a crash, a failed start, the watchdog and a lack of memory), with
// [Store.Expire] when the deployer has gone, and with [Store.BootCheck] after a power cut. Time is the kernel's since boot, with the boot's id: a board without
// a clock is no trouble.
//
// [Package] is tried like a version, at any time: what a package installed serves then.
//
// Every change is made of steps that are atomic and on disk before the next one; after each of them BootCheck leads to a version that was confirmed, or to the
// packaged daemon.
//
// # Sending
//
// [Send] and [Store.Receive] speak the protocol of protocol.go over any stream, which may end anywhere: what came whole is kept, and found again.
//
// Where the file system has fs-verity, the kernel checks each page of a model from the time on when all of it had its checksum, and what the kernel says its digest is has to
// be what was computed here. Where it has none, [Status] says so.
package slot
