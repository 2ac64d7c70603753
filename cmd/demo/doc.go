// Command demo shows goldstream at work on a real Debian image, with times.
//
// It makes (or reuses) the golden image, starts a daemon on a free port of the
// loopback interface, imports the image, deploys two servers by a plan (plan.yaml:
// host name, network, SSH key, a plan script) and clones two volumes as they are, boots
// a server in an emulated machine while the clones are read and written through
// independent NBD clients, and proves that the golden image is what it was.
//
// Everything runs below a temporary directory and is removed at the end, also
// after Ctrl-C or a failure; only logs stay, in .cache/demo. Run it with
// `make demo`, which installs what it needs.
package main
