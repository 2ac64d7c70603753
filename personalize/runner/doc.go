// Package runner carries out the program of a deployment: the steps of a plan, as
// guestfish would, over a disk cell and a script cell.
//
// # Words
//
// The *disk* is the guest of guestfish: what the commands of scripts change, in a
// disk cell. *Local* is its other side: a directory that is empty at first and stays
// for the whole run, and the shell that works in it, in a script cell, which is only
// started when a script first needs it. A *soft* failure is one of a command, which a
// - before it forgives; a *hard* one is the end of a cell, of the time, or of the
// context, which nothing does.
//
// # What a run does
//
// [Run] carries out a whole plan of scripts; a [Session] does it step by step, for who
// has steps of other kinds in between.
//
// All steps are one script: mounts and local files of one step are there for the next.
// Nothing is mounted when it begins. It ends at the first failure that nothing
// forgives, at exit or quit, or at the end, where all is unmounted: what could not be
// written fails the run. Whoever owns the disk asks its store for the flush then.
//
// # The log
//
// It has the steps, their commands, what they print and why they fail, line by line.
// Values of passwords are masked in all of it, also where a script prints them: a line
// is kept back until it is whole. Lines that begin with ImageStreamerLog: are messages
// for whoever waits for the deployment.
//
// # Formats
//
// What commands print has the form that guestfish prints, since scripts parse it.
// Where only people read it (df, ll, blkid, version), the form is the same and the
// content what is known here.
package runner
