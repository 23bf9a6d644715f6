// Package sandbox takes rights away from the running process: to gain privileges, to open files that it does not need, and to open plain TCP sockets.
//
// [Restrict] uses no_new_privs and Landlock (landlock(7), Linux 5.13 and later), which need no privileges themselves. What is open stays open:
// mapped files, listening sockets and accepted connections go on as before. There is no way back.
package sandbox
