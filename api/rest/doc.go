// Package rest has the conventions that the two APIs of old share: that of
// HPE OneView (package oneview) and that of its Image Streamer (package
// imagestreamer). Their clients exist and will not change, so that their
// conventions are kept to the letter: how collections are filtered, sorted and
// cut into pages, what a task and an error look like, what an eTag does.
//
// # Words
//
// A [Resource] says how one kind of the model is shown and read: Show fills an
// [Object] with fields, Take makes the model's form of the [Fields] that a
// client sent. Lists, names, eTags, times, status codes and tasks are the same
// for all and stand here once. What has other verbs is a [Route].
//
// A [View] is one state of the store, in which an answer is made. A [Call] is a
// request under way. [Backend] is all that the store has to offer, [Gate]
// knows who may come in.
//
// # Three sorts of clients
//
// They disagree about what a change answers with: a resource, or the task that
// made it. [Answer] says which of the two a verb of a resource gives. A change
// is checked completely before it is accepted, since some clients never look at
// the task. A finished task of theirs always has 100 percent, and one that
// failed always has an error: each of these is the only thing that some client
// waits for.
//
// # Fields that mean nothing here
//
// Clients find out whether there is something to do by comparing what they want
// with what they get. Fields that a resource does not know are therefore kept
// and shown again (model.Meta.Extra), except for secrets, which become null.
package rest
