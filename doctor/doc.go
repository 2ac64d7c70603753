// Package doctor tells what a host lacks for goldstream, what does not work without
// it and what to do.
//
// # Words
//
// A check looks at one thing and yields one [Finding]: fine, a warning (it works,
// with less speed, safety or room), or missing (a feature does not work). Checks
// change nothing on the host that stays, and see it through a [Host] alone, so that
// tests can give them any.
package doctor
