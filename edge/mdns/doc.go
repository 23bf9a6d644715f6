// Package mdns makes a daemon findable on the local network, and finds others: DNS-based service discovery (RFC 6763) over multicast DNS (RFC 6762), IPv4.
//
// [Announce] answers questions for a host's services, says so when they come and when they go, and takes no more than some packets a second from anybody.
// Before it uses a name it asks whether somebody has it, and takes another with a number if so: kitchen-2 (sections 8 and 9).
// [Browse] asks twice and collects the answers. What is not here: IPv6 multicast; addresses of both kinds are told.
package mdns
