package rules

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"goldstream/lifecycle/model"
)

// Digest is a keyed hash over a plan and the values that it and the profile
// supply; a value of the profile goes before the plan's own. What the server
// fills in itself is left out: addresses of NICs, values of pools, and the
// attributes of the boot NIC. It is "" without a plan.
//
// Row 8 compares two digests made at the same time, from the same text of the
// plan: an edit of the plan alone changes both.
func Digest(key []byte, plan *model.DeploymentPlan, values []model.Value) string {
	if plan == nil {
		return ""
	}
	supplied := map[string]string{}
	for _, v := range append(slices.Clone(plan.Values), values...) {
		supplied[v.Name] = normal(v.Reveal())
	}
	h := hmac.New(sha256.New, key)
	put := func(s string) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	put(string(plan.URI))
	for _, name := range slices.Sorted(maps.Keys(supplied)) {
		if !generated(name, supplied) {
			put(name)
			put(supplied[name])
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// generated tells of values that the server fills in.
func generated(name string, all map[string]string) bool {
	if strings.HasPrefix(name, "_Initiator") {
		return true
	}
	nic, part, ok := strings.Cut(name, ".")
	if !ok {
		return false
	}
	switch part {
	case "mac":
		return true
	case "ipaddress", "netmask", "gateway", "dns1", "dns2", "domain":
		c := strings.ToLower(all[nic+".constraint"])
		return c == "auto" || c == "dhcp"
	}
	return false
}
