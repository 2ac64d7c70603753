package blockstore

import (
	"fmt"
	"path/filepath"
)

// reportStrays tells of files below the store that no record names. A record is
// durable before its file is made and goes after it, so there should be none:
// they are kept, for somebody may miss what is in them.
func (s *Store) reportStrays() error {
	layers, err := s.fs.List(s.layersDir())
	if err != nil {
		return err
	}
	rings, err := s.fs.List(filepath.Dir(s.ringPath(0)))
	if err != nil {
		return err
	}
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	for _, name := range layers {
		var id layerID
		if n, _ := fmt.Sscanf(name, "%016x-%08x", &id.lineage, &id.version); n != 2 || layerDir(id) != name || !s.cat.knowsLocked(id) {
			s.o.Logger.Warn("data without a record: kept, please report", "path", filepath.Join(s.layersDir(), name))
		}
	}
	for _, name := range rings {
		var lineage uint64
		if n, _ := fmt.Sscanf(name, "%016x", &lineage); n != 1 || s.cat.mu.lineages[lineage] == nil {
			s.o.Logger.Warn("intent ring without a record: kept, please report", "path", s.ringPath(lineage))
		}
	}
	return nil
}

// knowsLocked tells that a layer has a record, or that its volume may make it.
func (c *catalogue) knowsLocked(id layerID) bool {
	l := c.mu.lineages[id.lineage]
	return l != nil && (l.at(id.version) != nil || l.merged[id.version] != nil)
}
