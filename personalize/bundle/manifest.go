package bundle

import (
	"fmt"
	"strings"
	"time"

	"goldstream/personalize/attribute"
)

const (
	manifestName = "MANIFEST.MF"
	timeForm     = "2006-01-02T15:04:05.000Z"
)

// readManifest reads lines "Key:value"; keys that are not known are passed over.
func readManifest(text string) (m Manifest, err error) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "Artifact Name":
			m.Name = value
		case "Description":
			m.Description = value
		case "Read Only":
			m.ReadOnly = strings.EqualFold(value, "true")
		case "Time Stamp":
			if m.Time, err = time.Parse(time.RFC3339, value); err != nil {
				return m, attribute.Invalid("%s has the time %.64q: it is written as %s", manifestName, value, timeForm)
			}
		}
	}
	if len(m.Name) > maxName || len(m.Description) > maxDescription {
		return m, attribute.Invalid("%s has a name of %d bytes and a description of %d: at most %d and %d are allowed", manifestName, len(m.Name), len(m.Description), maxName, maxDescription)
	}
	return m, nil
}

func (m Manifest) text() string {
	return fmt.Sprintf("Artifact Name:%s\nDescription:%s\nRead Only:%v\nTime Stamp:%s\nArtifact Type:USER", oneLine(m.Name), oneLine(m.Description), m.ReadOnly, m.Time.UTC().Format(timeForm))
}

// oneLine keeps text from becoming another line of the manifest.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
