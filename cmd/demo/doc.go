// Command demo shows goldstream at work on a real Debian image, with times.
//
// It makes (or reuses) the golden image, makes a network in namespaces with a DHCP server
// that knows nothing of goldstream, starts a daemon there, imports the image, deploys two
// servers by a plan (plan.yaml: host name, network, SSH key, a plan script) and clones two
// volumes as they are. Then it switches a server on, an emulated machine without a disk,
// which boots by PXE from its own volume while the clones are read and written through
// independent NBD clients. It kills the daemon under the running server, starts it again and
// has someone try to log in, and proves that the golden image is what it was.
// At the end it shows what becomes of OS volumes when servers and enclosures change;
// -only lifecycle shows that alone, in seconds.
//
// Everything runs below a temporary directory and is removed at the end, also
// after Ctrl-C or a failure; only logs stay, in .cache/demo. Run it with
// `make demo`, which installs what it needs.
package main
