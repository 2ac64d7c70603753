// Package rules says what happens to an OS volume when profiles, servers and
// enclosures change. It is pure: no clock, no disk, no network.
//
// # Words
//
// The home of a volume is the logical enclosure of the hardware that it was
// made for. It stays through unassign, rename, growth and a move to another
// enclosure group. Hardware can access a volume if its logical enclosure is the
// volume's home: by identity, never by node or by group.
//
// # The table
//
//	1   assigned to or unassigned from hardware               retained
//	2   the home moves to another enclosure group             retained
//	3   profile unassigned, its volume's home is deleted      deleted, pending assignment
//	3a  logical enclosure deleted or shrunk under assigned
//	    profiles, deployment switched off or hardware type
//	    deleted under profiles that need it                   refused
//	4   assigned to hardware outside of the volume's home     deleted and regenerated
//	5   hardware type of the profile changed                  deleted and regenerated
//	5a  assigned to hardware of another type                  refused
//	6   other hardware, same type, same home; hardware
//	    replaced in its bay or removed                        retained
//	7   profile without volume is on hardware and has a plan  created
//	8   another plan, or another value is supplied            as 5
//	9   plan removed, profile deleted                         deleted
//	10  saved again                                           retained, always
//	11  image, script or plan edited                          retained
//	12  redeploy, or forceOsDeployment                        regenerated once
//
// Without hardware, 5, 8 and 12 delete the volume and leave the profile
// pending: 7 makes the new one. A refusal wins and nothing is done; then 9,
// then one regenerate for all of 12, 5, 4 and 8, then 7, else retain.
//
// What was asked for and failed is owed: the next save of the profile does it,
// unless the profile has gone back meanwhile to what the volume was made for.
// Force is never owed.
//
// [Decide] says what happens to one profile, [DecideAll] to all that an event
// concerns, [Merge] what a profile becomes by a request, [Digest] whether values
// have changed, [Ask] whether somebody has to confirm, [Order] in which order it
// is done, [Locks] what is locked meanwhile.
package rules
