package bundle

import (
	"archive/zip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"

	"goldstream/personalize/attribute"
)

// Writer writes a bundle: artifacts in any order, then Close.
type Writer struct {
	z       *zip.Writer
	sums    sums
	of      Manifest
	scripts map[string]string // IDs by name
}

// NewWriter begins a bundle.
func NewWriter(w io.Writer, of Manifest) *Writer {
	return &Writer{z: packer(w), sums: sums{sha256Name, map[string]string{}}, of: of, scripts: map[string]string{}}
}

// packer compresses quickly: disks are long.
func packer(w io.Writer) *zip.Writer {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) { return flate.NewWriter(out, flate.DefaultCompression) })
	return z
}

// entry adds what fill writes.
func (w *Writer) entry(name string, method uint16, fill func(io.Writer) error) error {
	switch _, taken := w.sums.of[name]; {
	case taken:
		return attribute.Invalid("the bundle would have two entries %q: rename one artifact", name)
	case name == manifestName, name == sha256Name, name == sha1Name:
		return attribute.Invalid("an artifact cannot be called %q in a bundle: rename it", name)
	}
	h := &zip.FileHeader{Name: name, Method: method, Modified: w.of.Time}
	if err := plainEntry(&zip.File{FileHeader: *h}); err != nil {
		return err
	}
	return w.fill(h, fill)
}

func (w *Writer) fill(h *zip.FileHeader, fill func(io.Writer) error) error {
	out, err := w.z.CreateHeader(h)
	if err != nil {
		return err
	}
	hash := w.sums.hash()
	if err := fill(io.MultiWriter(out, hash)); err != nil {
		return err
	}
	w.sums.of[h.Name] = hex.EncodeToString(hash.Sum(nil))
	return nil
}

func (w *Writer) object(h Head, kind string, v any) error {
	name := h.ID + "_" + kind + ".json"
	if !objectForm.MatchString(name) {
		return attribute.Invalid("%q cannot be the ID of %q in a bundle", h.ID, h.Name)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.entry(name, zip.Deflate, func(out io.Writer) error {
		_, err := out.Write(text)
		return err
	})
}

// Script adds a plan script. Those of a build plan come before it.
func (w *Writer) Script(s Script) error {
	w.scripts[s.Name] = s.ID
	return w.object(s.Head, "planscript", scriptObject{Type: "PlanScript", ID: s.ID, Name: s.Name, About: s.Description, PlanScript: s.PlanScript, HPProvided: s.ReadOnly})
}

// Build adds a build plan, without defaults of passwords.
func (w *Writer) Build(p Build) error {
	o := buildObject{
		Type: "OeBuildPlan", ID: p.ID, Name: p.Name, About: p.Description, ReadOnly: p.ReadOnly, PlanType: p.Type,
		Steps: []stepObject{}, Attributes: []attributeObject{},
	}
	for i, s := range p.Steps {
		one := stepObject{Serial: serial(i + 1), Native: s.Native}
		if s.Script != "" {
			id, ok := w.scripts[s.Script]
			if !ok {
				return fmt.Errorf("build plan %q comes before its script %q", p.Name, s.Script)
			}
			uri := "/rest/plan-scripts/" + id
			one.Script, one.Name = &uri, &s.Script
		}
		o.Steps = append(o.Steps, one)
	}
	for _, d := range p.Attributes {
		o.Attributes = append(o.Attributes, attributeObject{definition: d})
	}
	return w.object(p.Head, "buildplan", o)
}

// Deployment adds a deployment plan, without values of passwords.
func (w *Writer) Deployment(d Deployment) error {
	o := deploymentObject{
		Type: "OEDeploymentPlan", ID: d.ID, Name: d.Name, About: d.Description, ReadOnly: d.ReadOnly, Build: d.Build, Image: d.Image,
		Attributes: []attributeObject{},
	}
	fixed, hidden := set(d.Fixed), set(d.Hidden)
	for i, a := range d.Attributes {
		editable, visible := !fixed[a.Name], !hidden[a.Name]
		o.Attributes = append(o.Attributes, attributeObject{a, &places{ID: fmt.Sprint(i + 1), Editable: &editable, Visible: &visible}})
	}
	return w.object(d.Head, "deploymentplan", o)
}

func set(names []string) map[string]bool {
	m := map[string]bool{}
	for _, name := range names {
		m[name] = true
	}
	return m
}

// Image adds a golden image; disk writes its raw disk.
func (w *Writer) Image(i Image, disk func(io.Writer) error) error {
	o := imageObject{Type: "GoldenImage", ID: i.ID, Name: i.Name, About: i.Description, ReadOnly: i.ReadOnly, Imported: true, Bundle: w.of.Name}
	if err := w.object(i.Head, "goldenimage", o); err != nil {
		return err
	}
	// Packed already: a second time gains nothing.
	return w.entry(i.Name, zip.Store, func(out io.Writer) error {
		z := packer(out)
		raw, err := z.CreateHeader(&zip.FileHeader{Name: i.ID, Method: zip.Deflate, Modified: w.of.Time})
		if err != nil {
			return err
		}
		if err := disk(raw); err != nil {
			return err
		}
		return z.Close()
	})
}

// Close writes manifest and checksums.
func (w *Writer) Close() error {
	text := func(text string) func(io.Writer) error {
		return func(out io.Writer) error {
			_, err := io.WriteString(out, text)
			return err
		}
	}
	if err := w.fill(&zip.FileHeader{Name: manifestName, Method: zip.Deflate, Modified: w.of.Time}, text(w.of.text())); err != nil {
		return err
	}
	list := w.sums.text()
	if err := w.fill(&zip.FileHeader{Name: sha256Name, Method: zip.Deflate, Modified: w.of.Time}, text(list)); err != nil {
		return err
	}
	return w.z.Close()
}
