// Package task runs work that takes time, durably: what was accepted is done or
// undone, whatever happens to the process meanwhile. It knows steps, and
// nothing of what they work on.
//
// # Words
//
// A kind is a sort of work: an ordered list of steps, each with a Do and an
// Undo. A task is one piece of work of a kind. The journal is where tasks are
// kept; a save of it may carry changes of the caller's own in the same commit.
// A subject is a label that one unfinished task has at a time. An owner is who
// asked: the pool takes turns between owners.
//
// # What always holds
//
//   - A task that Submit returned survives a kill. At the next Open it is gone
//     on with where it was, or undone, as its kind says.
//   - A task that kills cut short several times at the same step is undone: it
//     may be what takes the program down.
//   - A step counts as done only when the journal says so, in the same commit as
//     what it returned to be committed: that happens exactly once. What a step
//     does elsewhere may happen again after a kill, and must be the same then:
//     [Run.RequestID] names each step for those who can tell.
//   - A step that fails, a cancel and a deadline undo all steps begun, the last
//     first. An Undo that fails is tried again, then named in the task, and the
//     others go on.
//   - Each start of a task, also after a kill, has a [Run.Fence] higher than
//     all before: who is shown it can refuse those that are older.
//   - Deadlines count time that the task ran, by a clock that nobody sets; what is
//     left of it is kept in the journal.
//   - Inputs and data of tasks are never shown: they may hold secrets. Log lines
//     and messages pass through [Run.Hide].
//
// # States
//
//	Pending → Running → Completed
//	             ↓
//	          Undoing → Error, Cancelled
//
// A stop of the engine is no failure: tasks stay as they are in the journal.
package task
