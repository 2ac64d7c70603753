// Package guestfish reads plan scripts: the part of the language of guestfish
// that they use. It yields a typed program before anything runs, and says with
// script, line and column what is wrong.
//
// # Words
//
// A script is the text of one step of a build plan, with the values of its
// attributes in it. A command is one of its lines. The guest is the disk that is
// personalized; local is what is beside it: a scratch directory and a shell.
//
// # The language
//
//	# text            a comment, at the beginning of a line only
//	NAME ARG…         a command; the name is never quoted
//	-NAME ARG…        the same, and its failure is ignored
//	!TEXT             the rest of the line goes to a local shell
//	<!TEXT            so too, and what it prints is run as commands
//	NAME ARG… |TEXT   the output of the command goes to a local shell
//	glob NAME ARG…    the command for each match of the arguments in the guest
//	-<<END            as the local file of an upload: the lines up to END
//
// Arguments are apart by blanks and tabs: "with escapes as in C", 'as it is', or
// bare, in which quotes are letters. A | counts only where an argument begins.
// There is no continuation of lines and no redirection. All this is as in
// guestfish itself (fish/fish.c of libguestfs), so that scripts written for it
// run unchanged.
//
// What <! prints is known only at run time: [Parse] reads it then, by the same
// rules.
package guestfish
