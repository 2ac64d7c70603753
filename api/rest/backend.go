package rest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
)

// Backend is what requests are translated to.
type Backend interface {
	// View runs fn on one state of the store of resources.
	View(ctx context.Context, fn func(*store.Reader) error) error
	// Save makes or changes what a client describes: made is called in the update,
	// perhaps several times, and says what it shall be. It has the URI of what it
	// replaces, or none.
	Save(ctx context.Context, how How, made func(*store.Reader) (Wanted, error)) (Done, error)
	Delete(ctx context.Context, how How, res model.Resource) (Done, error)
	// Repeated tells what became of a request that was sent before, by its ID.
	Repeated(ctx context.Context, how How) (done Done, known bool, err error)

	Tasks(ctx context.Context) ([]task.Info, error)
	Task(ctx context.Context, id string, behind uint64) (task.Info, error)
	WaitTask(ctx context.Context, id string, revision, behind uint64) (task.Info, error)
	CancelTask(ctx context.Context, id string) (task.Info, error)

	Images(ctx context.Context) ([]blockstore.ImageInfo, error)
	Volume(ctx context.Context, name string) (blockstore.VolumeInfo, error)
	OpenImage(ctx context.Context, name string) (v1.Disk, error)
	// AddImage imports the disk image that r yields. name is what it is called if
	// nothing else is said; head is asked once r has ended.
	AddImage(ctx context.Context, how How, name string, r io.Reader, head func() (model.Meta, error)) (Done, error)
	// CaptureVolume makes a golden image of a volume, by a build plan or as it is.
	CaptureVolume(ctx context.Context, how How, volume *model.OSVolume, plan *model.BuildPlan, head model.Meta) (Done, error)

	// Bundles are named by their URIs.
	AddBundle(ctx context.Context, name string, r io.Reader, size int64) (v1.BundleInfo, error)
	OpenBundle(ctx context.Context, uri string) (v1.BundleInfo, io.ReadSeekCloser, error)
	ImportBundle(ctx context.Context, uri string, on v1.Conflict, requestID string) (task.Info, error)
	CreateBundle(ctx context.Context, req v1.BundleRequest, requestID string) (task.Info, error)
}

// How says how something is to be changed.
type How struct {
	Who  string
	ETag string // of the state that is to be changed; "" or "*" is any
	// Task has a change that is done at once leave a task behind, for clients that
	// wait for one.
	Task      bool
	Confirmed bool // a volume may be lost of a server that may run
	DryRun    bool
	RequestID string
	// Sent is what a request ID stands for, as the client sent it: a repeat is known by
	// it whatever became of the resource since. nil of an upload, or without an ID.
	Sent []byte
}

// Wanted is a resource as it shall be.
type Wanted struct {
	Resource model.Resource
	// Deployment and Values say of a server profile that the client spoke of them:
	// what it did not speak of stays.
	Deployment, Values bool
	// Kept is put over what is kept of the fields that nobody knows.
	Kept map[string]json.RawMessage
	// Force has the OS volume of a profile made anew.
	Force bool
}

// Done is what became of a change.
type Done struct {
	URI  model.URI
	Task *task.Info // nil without one
	// Effects tell people what happens to which volume.
	Effects []string
}

// Gate knows who may come in.
type Gate interface {
	// Login opens a session. Error: ErrLogin.
	Login(r *http.Request, c Credentials) (token string, err error)
	// Admit tells who sends a request, or refuses it: ErrSession, ErrForbidden. The
	// context is that of the request, and knows them too.
	Admit(r *http.Request, token string) (ctx context.Context, who string, err error)
	// The rest is of sessions: ErrSession where there is none.

	Logout(ctx context.Context, token string) error
	Idle(ctx context.Context, token string) (time.Duration, error)
	SetIdle(ctx context.Context, token string, d time.Duration) error
}

// Credentials are what somebody logs in with.
type Credentials struct{ User, Password, Directory string }
