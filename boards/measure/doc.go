// Package measure runs a model on this board and reports what it did there: tokens a second, how long the first and the next ones took, memory, page faults,
// watts, joules a token and an answer, temperature, clocks and throttling.
//
// [Run] measures and gives a [Report], whose JSON form REPORT.md describes. [Report.Markdown] and [Report.HTML] write it for people, [Compare] holds several
// against each other, [Report.Share] makes the [Result] of it that may be published, and [Table] is README's table of these results.
//
// # What is not known
//
// Where a quantity has no sensor, or a phase was too short for it, the report has null and the reason, never 0. If throttling came or went between the
// runs there is no [Summary], as a mean would be that of two different boards: the runs stand for themselves. What ran in a virtual machine says so, and what ran
// in an emulator is not shared.
package measure

//go:generate go run ./readme ../results ../../README.md
