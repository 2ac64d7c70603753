// Package step changes a disk without a script: it writes files, the host's
// name, network settings, accounts, mounts and keys, from plain data.
//
// # Words
//
// A step says what shall be. Planned against a tree of files it becomes a list
// of operations: what of it is not yet so. Planned again after [Apply] the list
// is empty, but for SSH host keys, which are other ones each time, and growing. The tree is the root file system of the disk; who has it mounted
// satisfies [Files].
//
// # What holds
//
//   - Planning reads and never writes; what is wrong is said before anything
//     is changed.
//   - No program of the disk is run, not even to make an account.
//   - Nothing but what a step names is touched: no permission, owner or label of
//     a file that exists is changed unless the step says so.
//   - Where the disk uses SELinux and files were made, /.autorelabel is made too:
//     a file without its label keeps people from logging in.
package step
