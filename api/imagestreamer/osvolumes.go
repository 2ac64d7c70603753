package imagestreamer

import (
	"encoding/json"
	"errors"

	"goldstream/api/rest"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
)

// osVolumes can only be read: volumes come and go with profiles.
func osVolumes() *rest.Resource {
	return &rest.Resource{
		Kind: model.OSVolumes, Types: []rest.Version{rest.From(0, "OeVolume"), rest.From(600, "OeVolumeV2")},
		Show: showVolume, Hidden: func(res model.Resource) bool { return res.(*model.OSVolume).IsRetired() },
	}
}

// deployedTargets is OneView's name for them.
func deployedTargets() *rest.Resource {
	r := osVolumes()
	r.Path = "/rest/deployed-targets"
	return r
}

func volumeRoutes() []rest.Route {
	return []rest.Route{
		// Neither of archive/ID and ID/storage is a part of the other, for a ServeMux.
		rest.On("GET /rest/os-volumes/{first}/{second}", func(c *rest.Call) error {
			first, second := c.PathValue("first"), c.PathValue("second")
			switch {
			case first == "archive":
				return volumeLog(c, second)
			case second == "storage":
				c.SetPathValue("id", first)
				return volumeStorage(c)
			}
			return rest.Missing(c.URL.Path)
		}),
	}
}

func showVolume(v *rest.View, res model.Resource, o rest.Object) error {
	vol := res.(*model.OSVolume)
	o["size"], o["oeVolumeId"], o["oeVolumeIp"] = vol.Size, vol.URI.ID(), v.Request.Host
	o["oeVolumeIQN"] = vol.Name // of its export over NBD: there is no iSCSI
	o["deploymentClusterUri"], o["goldenVolumeUri"] = "/rest/deployment-servers/default", nil
	o["statelessServerUri"], o["dependentArtifacts"] = string(vol.Profile), []any{}
	if owner := v.Name(vol.Profile); owner != "" {
		o["dependentArtifacts"] = []rest.Object{{"name": owner, "uri": string(vol.Profile)}}
	}
	if vol.Made.ImageID == "" {
		return nil
	}
	golden, err := rest.Known(v, "golden "+vol.Made.ImageID, func() (u model.URI, err error) {
		return u, v.Each(model.GoldenImages, func(res model.Resource) error {
			if res.(*model.GoldenImage).ImageID == vol.Made.ImageID {
				u = res.Head().URI
			}
			return nil
		})
	})
	o["goldenVolumeUri"] = rest.OrNull(golden)
	return err
}

// volumeLog is what was logged when a volume was made. Some clients name it by its
// name.
func volumeLog(c *rest.Call, idOrName string) error {
	c.SetPathValue("id", idOrName)
	err := c.View(func(v *rest.View) error {
		res, err := v.ByName(model.OSVolumes, idOrName)
		if err == nil {
			c.SetPathValue("id", res.Head().URI.ID())
		} else if errors.Is(err, store.ErrNotFound) {
			err = nil // then it is an ID
		}
		return err
	})
	if err != nil {
		return err
	}
	return sendLog(c, osVolumes(), func(res model.Resource, i task.Info) bool {
		b, err := json.Marshal(i.Result)
		var made struct{ Name string }
		return err == nil && json.Unmarshal(b, &made) == nil && made.Name == res.Head().Name
	})
}

func volumeStorage(c *rest.Call) error {
	var vol *model.OSVolume
	err := c.View(func(v *rest.View) error {
		res, err := osVolumes().Find(v)
		if err == nil {
			vol = res.(*model.OSVolume)
		}
		return err
	})
	if err != nil {
		return err
	}
	disk, err := c.Backend.Volume(c.Context(), vol.Name)
	if err != nil {
		return err
	}
	return c.Answer(200, rest.Object{
		"type": "OeVolumeStorage", "uri": string(vol.URI) + "/storage", "provisionedCapacity": disk.Size, "allocatedCapacity": disk.Allocated,
		"iscsiName": vol.Name, "ipAddress": nil, "portNumber": nil, "snapshotPool": nil, "snapshots": disk.Snapshots,
	})
}
