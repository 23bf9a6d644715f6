// Package unit is the text of the daemon's files for systemd: service, socket, slice and drop-ins, sysusers.d(5) and tmpfiles.d(5).
//
// [Files] are what a package installs. Numbers of bytes come from the model's footprint, see [Params]; for a model other than the packaged one,
// [Memory] is a drop-in with the numbers alone. The service's exposure by `systemd-analyze security` is tested to be at most 2.0, and 2.5 with [Sensors].
package unit
