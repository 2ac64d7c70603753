// Package model has the plain types of what an operator administers: who has
// which hardware, where it stands, and which OS volume belongs to whom. It knows
// no rule and no database: packages rules and store do.
//
// # Words
//
// A resource is one of these things: it has a URI that never changes
// (/rest/COLLECTION/ID), a name that is unique in its collection, and an eTag
// that changes with each save. A reference is a URI of another resource that
// must exist. A claim is something that only one resource may have at a time: a
// name, a bay of an enclosure, a server for a profile.
//
// An enclosure is a chassis with bays, an enclosure group a template of such,
// and a logical enclosure the group of enclosures that is administered
// together. Server hardware stands in a bay of an enclosure; its logical
// enclosure is the one that lists the enclosure. Hardware without an enclosure
// belongs to the default one, so that plain rack servers need none of this.
//
// A server profile is the identity of a server: the hardware it is assigned to,
// the deployment plan that its OS volume is made from, and the values of that
// plan's attributes. A profile template is what profiles are made from; they may
// differ from it later.
//
// # Secrets
//
// A [Value] of type password is masked wherever it is printed, logged or encoded:
// clear text leaves it through [Value.Reveal] and [Resource.Secrets] alone, the
// second being how the store keeps it.
package model
