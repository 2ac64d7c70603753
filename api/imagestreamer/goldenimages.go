package imagestreamer

import (
	"encoding/json"
	"errors"
	"strings"

	"goldstream/api/rest"
	"goldstream/blockstore"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
)

func goldenImages() *rest.Resource {
	return &rest.Resource{
		Kind: model.GoldenImages, Types: []rest.Version{rest.From(0, "GoldenImage")},
		Show: showImage, Take: takeImage, Others: unrecorded,
		Told: []string{
			"osVolumeName", "osVolumeCategory", "buildPlanName", "buildPlanCategory", "bundleURI", "bundleName", "artifactBundleCategory",
			"importedFromBundle", "checkSum", "size", "readOnly", "dependentArtifacts",
		},
		Replace: rest.AsTask, Delete: rest.AsTask,
	}
}

func imageRoutes() []rest.Route {
	return []rest.Route{
		rest.On("POST /rest/golden-images", addImage),
		rest.On("GET /rest/golden-images/download/{id}", downloadImage),
		rest.On("GET /rest/golden-images/archive/{id}", imageLog),
	}
}

// disks are the images of the block store, by their IDs.
func disks(v *rest.View) (map[string]blockstore.ImageInfo, error) {
	return rest.Known(v, "images", func() (map[string]blockstore.ImageInfo, error) {
		list, err := v.Backend.Images(v.Context())
		m := map[string]blockstore.ImageInfo{}
		for _, i := range list {
			m[i.ID] = i
		}
		return m, err
	})
}

// unrecorded are images of the block store that no resource stands for: they were
// imported otherwise. Their ID there is that of their URI.
func unrecorded(v *rest.View) (list []model.Resource, err error) {
	all, err := disks(v)
	if err != nil {
		return nil, err
	}
	recorded := map[string]bool{}
	err = v.Each(model.GoldenImages, func(res model.Resource) error {
		recorded[res.(*model.GoldenImage).ImageID] = true
		return nil
	})
	for id, i := range all {
		if !recorded[id] {
			list = append(list, &model.GoldenImage{
				Meta: model.Meta{URI: model.ImageURI(id), Name: i.Name, Created: i.Created, Modified: i.Created}, Image: i.Name, ImageID: id, Size: i.Size,
			})
		}
	}
	return list, err
}

func showImage(v *rest.View, res model.Resource, o rest.Object) (err error) {
	g := res.(*model.GoldenImage)
	all, err := disks(v)
	if err != nil {
		return err
	}
	disk, there := all[g.ImageID]
	if !there {
		o["status"], o["state"] = "Critical", "Missing" // was deleted under it
	}
	o["size"], o["readOnly"], o["checkSum"] = g.Size, g.ReadOnly, rest.OrNull(disk.SHA256)
	o.Defaults(rest.Object{"imageCapture": false, "osVolumeURI": nil, "buildPlanUri": nil})
	o["importedFromBundle"], o["bundleURI"], o["bundleName"], o["artifactBundleCategory"] = g.Source != "", nil, nil, "artifact-bundles"
	o["osVolumeCategory"], o["buildPlanCategory"] = "os-volumes", "build-plans"
	o["osVolumeName"], o["buildPlanName"] = keptName(v, g, "osVolumeURI"), keptName(v, g, "buildPlanUri")
	o["dependentArtifacts"], err = v.Dependents(g.URI, model.DeploymentPlans)
	return err
}

// keptName is the name of what a kept field names, null of what is gone.
func keptName(v *rest.View, g *model.GoldenImage, key string) any {
	var u model.URI
	_ = json.Unmarshal(g.Extra[key], &u)
	return rest.OrNull(v.Name(u))
}

// takeImage gives an image another name or description: the rest stays.
func takeImage(_ *rest.View, f *rest.Fields, meta model.Meta, old model.Resource) (rest.Wanted, error) {
	g := *old.(*model.GoldenImage)
	g.Meta = meta
	kept := map[string]json.RawMessage{}
	for _, key := range []string{"imageCapture", "osVolumeURI", "buildPlanUri"} {
		f.Ignore(key)
		if value, ok := old.Head().Extra[key]; ok {
			kept[key] = value
		}
	}
	return rest.Wanted{Resource: &g, Kept: kept}, nil
}

// addImage uploads an image, or captures one.
func addImage(c *rest.Call) error {
	if !c.IsUpload() {
		return captureImage(c)
	}
	how, err := c.HowAtOnce()
	if err != nil {
		return err
	}
	u, err := c.Upload()
	if err != nil {
		return err
	}
	done, err := c.Backend.AddImage(c.Context(), how, u.Name(), u.File, func() (model.Meta, error) {
		err := u.End()
		return model.Meta{Name: u.Name(), Description: u.Field("description")}, err
	})
	if err != nil {
		return err
	}
	return c.Accepted(*done.Task)
}

func captureImage(c *rest.Call) error {
	f, err := c.Fields()
	if err != nil {
		return err
	}
	how, err := c.HowAtOnce()
	if err != nil {
		return err
	}
	head := model.Meta{Name: f.Text("name"), Description: f.Text("description")}
	from := f.Text("osVolumeURI")
	planURI := f.URI("buildPlanUri", model.BuildPlans)
	if !f.Bool("imageCapture") && from == "" {
		return rest.Bad("a golden image is captured from an OS volume (imageCapture: true, osVolumeURI), or uploaded as multipart/form-data")
	}
	if err := f.Err(); err != nil {
		return err
	}
	var volume *model.OSVolume
	var plan *model.BuildPlan
	err = c.View(func(v *rest.View) error {
		res, err := find(v, model.OSVolumes, "osVolumeURI", strings.Replace(from, "/rest/deployed-targets/", "/rest/os-volumes/", 1))
		if err != nil {
			return err
		}
		volume = res.(*model.OSVolume)
		if planURI == "" {
			return nil
		}
		res, err = find(v, model.BuildPlans, "buildPlanUri", string(planURI))
		if err == nil {
			plan = res.(*model.BuildPlan)
		}
		return err
	})
	if err != nil {
		return err
	}
	head.Extra = map[string]json.RawMessage{"imageCapture": json.RawMessage("true"), "osVolumeURI": quoted(string(volume.URI))}
	if plan != nil {
		head.Extra["buildPlanUri"] = quoted(string(plan.URI))
	}
	done, err := c.Backend.CaptureVolume(c.Context(), how, volume, plan, head)
	if err != nil {
		return err
	}
	return c.Accepted(*done.Task)
}

func quoted(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil { // a text can be written
		return nil
	}
	return b
}

// find returns what a field names.
func find(v *rest.View, kind model.Kind, field, uri string) (model.Resource, error) {
	u := model.URI(uri)
	if u.Kind() != kind {
		return nil, rest.Bad("%s is %.128q: it must be the URI of one of the %s", field, uri, kind)
	}
	res, err := v.Get(u)
	if errors.Is(err, store.ErrNotFound) {
		return nil, rest.Bad("%s is %s, which does not exist", field, uri)
	}
	return res, err
}
