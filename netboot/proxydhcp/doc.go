// Package proxydhcp tells servers that start over the network where their boot is,
// beside a DHCP server that knows nothing of it: it keeps a dnsmasq in proxy mode
// running, which gives no addresses away, and iPXE by TFTP.
//
// # Words
//
// A *boot program* is what firmware starts: iPXE, one file for BIOS and one for UEFI.
// The *proxy* answers firmware with its name, and iPXE, which sends option 175, with
// the URL of the first script. The address comes from the other DHCP server.
//
// # Shape
//
// One dnsmasq for each address that boots are handed out on, bound to the address's
// interface. Its configuration is generated and checked before anything is served; it
// is started again when it ends, and ends with Close.
//
// # What holds
//
//   - Start returns when dnsmasq has its ports, or with what it said.
//   - A dnsmasq that a killed process left behind is ended by the next Start: it drops
//     its privileges, and with them the signal that it would get of its parent's death.
package proxydhcp
