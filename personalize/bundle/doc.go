// Package bundle reads and writes artifact bundles: files by which plan scripts,
// build plans, deployment plans and golden images go from one site to another. It
// is pure, and believes nothing that stands in a file.
//
// # The format
//
// A bundle is a ZIP archive without folders:
//
//	ID_planscript.json      a plan script, one JSON object
//	ID_goldenimage.json     a golden image …
//	NAME                    … and its payload, called as the image: a ZIP archive
//	                        of one raw disk
//	ID_buildplan.json       a build plan
//	ID_deploymentplan.json  a deployment plan
//	MANIFEST.MF             five lines "Key:value"
//	SHA256SUM.sha256sum     "name TAB digest" of every other entry;
//	                        SHA1SUM.sha1sum in older bundles
//
// Steps of a build plan name scripts by URI and by name, a deployment plan names
// its image and its build plan by name. Here all references are names: the ID of
// the URI is looked up among the scripts of the bundle first.
//
// # Secrets
//
// What is written has no default of a password in it, and no value of one: a
// bundle is handed on. What is read may have some.
//
// # Steps that are no scripts
//
// A native step stands in a build plan under the key "native", which other readers
// of the format do not know.
package bundle
