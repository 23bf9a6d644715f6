// Package notify speaks with systemd from inside a service: it reports the service's state (sd_notify(3)), feeds the watchdog, and takes over
// sockets that systemd opened (sd_listen_fds(3)).
//
// A nil [Notifier], which is what [FromEnv] returns outside of systemd, does nothing, so that callers need no ifs.
package notify
