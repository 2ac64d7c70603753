// Package personalize has the plans by which a fresh clone becomes the disk of
// one server.
//
// # Words
//
// A plan script is one text in the language of package guestfish. A build plan
// is an ordered list of steps, each a plan script, and the definitions of their
// attributes (package attribute). The type of a plan or script says what it is
// for: deploy personalizes a clone, capture makes an image of a volume ready for
// others, general is for both.
//
// The types here are plain: their names, URIs and eTags are with whoever keeps
// them. A [Document] is a plan as people write it, in YAML.
//
// # When errors are found
//
// A script is checked when it is saved, with the defaults in it; what comes
// from a placeholder is not judged then. A build plan is checked together with
// its scripts: each placeholder must be declared. [Compile] puts in the values
// of one deployment and yields the program that runs: nothing of it runs before
// all of it is understood.
package personalize
