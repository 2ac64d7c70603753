// Package attribute has the custom attributes of plan scripts: what a plan
// declares, what a server profile supplies, and what stands in the script in
// the end. It is pure: no disk, no network, no clock.
//
// # Words
//
// A definition declares an attribute: name, type, default and constraints. A
// value supplies text for one by name. A placeholder is where a script uses
// one: @Name@, @Name.member@ or @Name:default@. Attributes of type nic have
// members, such as NIC1.ipaddress, and no text of their own. System attributes
// (_Initiator1.mac, VolumeSize) need no definition: the server fills them in.
//
// # From values to text
//
//	profile > deployment plan > build plan > default in the script > ""
//
// [Resolve] checks the values against their definitions and takes for each
// attribute the first that is supplied; [Expand] puts them into a script. That
// is replacement of text before anything is parsed: nothing is quoted.
//
// The rules of replacement, from left to right in each line:
//
//   - a placeholder of an attribute that is known is replaced;
//   - one of an unknown name stays as it is, so that e-mail addresses and
//     ${array[@]} survive;
//   - in the text between replacements @@ becomes @, and a lone @ stays.
//
// # Secrets
//
// Clear text of a [Value] and a [Definition] stands behind a pointer, which no
// formatting and no encoder follows; those of type password print a mask. An
// [Expansion] knows which of its bytes are secret and shows them as a mask.
// [Masker] hides secrets in text from elsewhere, such as the output of scripts.
package attribute
