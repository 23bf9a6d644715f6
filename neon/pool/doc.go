// Package pool runs one function on several threads, which share its loops.
//
// Workers are started once and stay. [Pool.Run] calls a function on all of them, each on a goroutine of its own and the first on the caller's;
// the function reads like one for a single thread, and every [Worker.For] in it is a loop whose rounds the workers share.
//
// Each worker begins with a fixed part of a loop, the same one every time, so that it finds its data in its own caches; one that is done takes rounds
// from the others. A loop ends when its rounds have been run, not when every worker has come by: a worker that another process keeps from its core delays
// nobody, unless it holds a round, and skips what was done without it. Who waits spins for some microseconds and then sleeps, which leaves the core
// to whoever makes the others late. Where that happens all the time, because other processes need cores too, the pool goes on with fewer workers, and tries
// the others again from time to time.
//
// Which worker does what changes no result, as long as rounds are independent. Nothing allocates after [New].
package pool
