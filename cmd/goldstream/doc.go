// Command goldstream keeps golden OS images, clones them into OS volumes and
// serves those over NBD.
//
//	goldstream serve
//	goldstream image  import|list|inspect|export|verify|delete|capture
//	goldstream volume create|list|inspect|grow|set|delete|restore|purge|rollback
//	goldstream snapshot create|list|delete|prune|export
//	goldstream inspect|sandbox prepare|sandbox check
//	goldstream mount|unmount DIR
//	goldstream login|logout|whoami --server URL
//	goldstream user   create|list|role|password|delete
//	goldstream token  create|list|revoke
//	goldstream doctor
//	goldstream check|space|status|version|completion
//
// Every command takes --data DIR (or GOLDSTREAM_DATA). Where a daemon serves
// that directory, the command talks to it over DIR/goldstream.sock; where none
// does, it opens the directory itself and runs the same handlers inside this
// process. With --server URL it talks to a daemon of another host, with a token.
// Flags may stand anywhere: before the noun, between the arguments,
// behind them; "--" ends them.
//
// # Exit codes
//
//	0    done
//	1    failed
//	2    usage: an argument or flag makes no sense
//	3    not found
//	4    exists already, is in use, or was changed meanwhile
//	5    no space left
//	6    locked by another process
//	7    damaged data: found by verify or check, or in the store itself
//	8    not allowed: no login, a bad token, or another role
//	130  cancelled
//
// # Output
//
// Results go to standard output: tables for people, or with --json one JSON
// document (serve: a line {"version","nbd"} once everything is served, and its
// log in JSON). Progress and errors go to standard error; with --json those are
// documents of one line there: {"progress":{"stage","done","total"}},
// {"note"} and {"error":{"code","message","advice"}}.
package main
