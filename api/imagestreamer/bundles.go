package imagestreamer

import (
	"io"
	"net/http"
	"time"

	"goldstream/api/rest"
	"goldstream/api/v1"
	"goldstream/lifecycle/model"
)

func artifactBundles() *rest.Resource {
	return &rest.Resource{
		Kind: model.ArtifactBundles, Types: []rest.Version{rest.From(0, "ArtifactsBundle")},
		Show: showBundle, Take: takeBundle,
		Told: []string{
			"artifactsbundleID", "artifactsCount", "backupService", "buildPlans", "deploymentPlans", "goldenimage", "planScripts", "checkSum", "downloadURI",
			"importbundle", "recoverBundle", "lastBackUpDownload", "readOnly", "size",
		},
		Delete: rest.AsTask,
	}
}

func bundleRoutes() []rest.Route {
	const path = "/rest/artifact-bundles"
	return []rest.Route{
		rest.On("POST "+path, addBundle),
		rest.On("PUT "+path+"/{id}", changeBundle),
		rest.On("PUT "+path+"/{id}/stopArtifactCreate", stopBundle),
		rest.On("GET "+path+"/download/{id}", downloadBundle),
	}
}

func showBundle(_ *rest.View, res model.Resource, o rest.Object) error {
	b := res.(*model.ArtifactBundle)
	o["artifactsbundleID"], o["artifactsCount"] = b.URI.ID(), len(b.Artifacts)
	o["size"], o["checkSum"], o["readOnly"] = b.Size, b.SHA256, b.ReadOnly
	o["downloadURI"] = "/rest/artifact-bundles/download/" + b.URI.ID()
	o["backupService"], o["importbundle"], o["recoverBundle"], o["lastBackUpDownload"] = false, false, false, nil
	lists := map[model.Kind][]rest.Object{}
	for _, a := range b.Artifacts {
		one := rest.Object{"description": a.Description, "readOnly": a.ReadOnly}
		uses := func(n int) any {
			if n < len(a.Uses) {
				return a.Uses[n]
			}
			return nil
		}
		switch a.Kind {
		case model.PlanScripts:
			one["psID"], one["planScriptName"] = a.ID, a.Name
		case model.BuildPlans:
			one["bpID"], one["buildPlanName"], one["planScriptName"] = a.ID, a.Name, uses(0)
		case model.DeploymentPlans:
			one["dpId"], one["deploymentplanName"], one["goldenImageName"], one["oebpName"] = a.ID, a.Name, uses(0), uses(1)
		case model.GoldenImages:
			one["giId"], one["goldenimageName"] = a.ID, a.Name
		}
		lists[a.Kind] = append(lists[a.Kind], one)
	}
	o["planScripts"], o["buildPlans"] = rest.List(lists[model.PlanScripts]), rest.List(lists[model.BuildPlans])
	o["deploymentPlans"], o["goldenimage"] = rest.List(lists[model.DeploymentPlans]), rest.List(lists[model.GoldenImages])
	return nil
}

// takeBundle gives a bundle another name or description.
func takeBundle(_ *rest.View, _ *rest.Fields, meta model.Meta, old model.Resource) (rest.Wanted, error) {
	b := *old.(*model.ArtifactBundle)
	b.Meta = meta
	return rest.Wanted{Resource: &b}, nil
}

// addBundle uploads a bundle, or makes one.
func addBundle(c *rest.Call) error {
	if !c.IsUpload() {
		return makeBundle(c)
	}
	if _, err := c.HowAtOnce(); err != nil {
		return err
	}
	u, err := c.Upload()
	if err != nil {
		return err
	}
	info, err := c.Backend.AddBundle(c.Context(), u.Name(), u.File, -1)
	if err == nil {
		err = u.End()
	}
	if err != nil {
		return err
	}
	return touched(c, info.URI)
}

// touched answers with a task, which some clients wait for, about what is done
// already.
func touched(c *rest.Call, uri string) error {
	c.SetPathValue("id", model.URI(uri).ID())
	r := artifactBundles()
	r.Replace = rest.AsTask
	return r.Edit(c, func(*rest.View, model.Resource) error { return nil })
}

func makeBundle(c *rest.Call) error {
	how, err := c.HowAtOnce()
	if err != nil {
		return err
	}
	f, err := c.Fields()
	if err != nil {
		return err
	}
	req := v1.BundleRequest{Name: f.Text("name"), Description: f.Text("description")}
	for key, list := range map[string]*[]v1.BundleItem{
		"planScripts": &req.Scripts, "buildPlans": &req.Builds, "deploymentPlans": &req.Deployments, "goldenImages": &req.Images,
	} {
		for _, item := range f.Objects(key) {
			*list = append(*list, v1.BundleItem{Name: item.Text("resourceUri"), ReadOnly: item.Bool("readOnly")})
		}
	}
	if err := f.Err(); err != nil {
		return err
	}
	i, err := c.Backend.CreateBundle(c.Context(), req, how.RequestID)
	if err != nil {
		return err
	}
	return c.Accepted(i)
}

// changeBundle imports what is in a bundle, or renames it.
func changeBundle(c *rest.Call) error {
	q := c.URL.Query()
	if q.Get("extract") != "true" {
		r := artifactBundles()
		r.Replace = rest.AsTask
		return r.Put(c)
	}
	how, err := c.HowAtOnce()
	if err != nil {
		return err
	}
	if _, err := c.Body(); err != nil {
		return err
	}
	var uri model.URI
	err = c.View(func(v *rest.View) error {
		res, err := artifactBundles().Find(v)
		if err == nil {
			uri = res.Head().URI
		}
		return err
	})
	if err != nil {
		return err
	}
	on := v1.ConflictFail
	if q.Get("forceImport") == "true" {
		on = v1.ConflictOverwrite
	}
	i, err := c.Backend.ImportBundle(c.Context(), string(uri), on, how.RequestID)
	if err != nil {
		return err
	}
	return c.Accepted(i)
}

func stopBundle(c *rest.Call) error {
	if _, err := c.HowAtOnce(); err != nil {
		return err
	}
	f, err := c.Fields()
	if err != nil {
		return err
	}
	uri := f.Text("taskUri")
	if err := f.Err(); err != nil {
		return err
	}
	return c.Cancel(rest.TaskID(uri))
}

func downloadBundle(c *rest.Call) error {
	info, file, err := c.Backend.OpenBundle(c.Context(), "/rest/artifact-bundles/"+c.PathValue("id"))
	if err != nil {
		return err
	}
	defer file.Close()
	attach(c, info.Name+".zip", info.Size)
	_ = http.NewResponseController(c.W).SetWriteDeadline(time.Now().Add(pieceTimeout))
	if _, err := io.CopyBuffer(struct{ io.Writer }{paced{c.W, http.NewResponseController(c.W)}}, struct{ io.Reader }{file}, make([]byte, pieceSize)); err != nil {
		panic(http.ErrAbortHandler) // the answer has begun
	}
	return nil
}
