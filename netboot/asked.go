package netboot

import (
	"slices"
	"time"
)

// StageDHCP is the first that can be seen of a boot, where goldstream tells servers
// where their boot is: firmware or iPXE has asked.
const StageDHCP = "dhcp"

const (
	// askedLife is how long a question by DHCP counts as the beginning of the boot whose
	// script is asked for next: firmware fetches iPXE in between.
	askedLife = 5 * time.Minute
	mostAsked = 20000
)

// Asked notes that a server was told where its boot is. Firmware asks, and the iPXE that
// it starts: the first of them counts.
func (h *Handler) Asked(mac string) {
	b := h.boots
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if at, ok := b.mu.asked[mac]; ok && now.Sub(at) < askedLife {
		return
	}
	if len(b.mu.asked) >= mostAsked { // who floods loses the beginnings of boots, and nothing else
		clear(b.mu.asked)
	}
	b.mu.asked[mac] = now
	h.o.Log.Info("boot", "stage", StageDHCP, "mac", mac)
}

// Waiting tells since when a server with one of the MAC addresses has been told where its
// boot is, and has not come for its script.
func (h *Handler) Waiting(macs []string) (since time.Time, ok bool) {
	b := h.boots
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, mac := range macs {
		if at, asked := b.mu.asked[mac]; asked && (!ok || at.After(since)) {
			since, ok = at, true
		}
	}
	return since, ok
}

// beginningLocked are the stages up to the script.
func (b *boots) beginningLocked(mac string, now time.Time) []Stage {
	stages := []Stage{{StageScript, now}}
	if at, ok := b.mu.asked[mac]; ok && now.Sub(at) < askedLife {
		stages = slices.Insert(stages, 0, Stage{StageDHCP, at})
	}
	delete(b.mu.asked, mac)
	return stages
}
