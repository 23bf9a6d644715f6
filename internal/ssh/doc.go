// Package ssh runs commands on other machines with the system's OpenSSH client, and so with the user's configuration, agents, jump hosts and hardware keys.
//
// A host's key is checked in every case (StrictHostKeyChecking=yes): one that is not known is refused, with the command that shows its fingerprint and asks.
package ssh
