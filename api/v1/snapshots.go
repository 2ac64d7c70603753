package v1

import (
	"net/http"

	"goldstream/blockstore"
)

func (s *server) routeSnapshots(mux *router) {
	mux.HandleFunc("GET /v1/volumes/{name}/snapshots", s.answer(s.listSnapshots))
	mux.HandleFunc("POST /v1/volumes/{name}/snapshots", s.answer(s.createSnapshot))
	mux.HandleFunc("POST /v1/volumes/{name}/snapshots/prune", s.answer(s.pruneSnapshots))
	mux.HandleFunc("GET /v1/volumes/{name}/snapshots/{snapshot}/export", s.export(s.openSnapshot))
	mux.HandleFunc("DELETE /v1/volumes/{name}/snapshots/{snapshot}", s.answer(s.deleteSnapshot))
	mux.HandleFunc("POST /v1/volumes/{name}/rollback", s.answer(s.rollBack))
}

func (s *server) listSnapshots(_ http.ResponseWriter, r *http.Request) (any, error) {
	snapshots, err := s.backend.Snapshots(r.Context(), r.PathValue("name"))
	return SnapshotList{Snapshots: orEmpty(snapshots)}, err
}

func (s *server) createSnapshot(w http.ResponseWriter, r *http.Request) (any, error) {
	var body SnapshotRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.CreateSnapshot(r.Context(), r.PathValue("name"), blockstore.SnapshotRequest{
		Name: body.Name, Owner: body.Owner, RequestID: requestID(r),
	})
}

func (s *server) pruneSnapshots(w http.ResponseWriter, r *http.Request) (any, error) {
	var body PruneRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	deleted, err := s.backend.PruneSnapshots(r.Context(), r.PathValue("name"), body.Keep, body.Owner, body.DryRun)
	return Pruned{Deleted: orEmpty(deleted), DryRun: body.DryRun}, err
}

func (s *server) openSnapshot(r *http.Request) (Disk, error) {
	return s.backend.OpenSnapshot(r.Context(), r.PathValue("name"), r.PathValue("snapshot"))
}

func (s *server) deleteSnapshot(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, s.backend.DeleteSnapshot(r.Context(), r.PathValue("name"), r.PathValue("snapshot"), requestID(r))
}

func (s *server) rollBack(w http.ResponseWriter, r *http.Request) (any, error) {
	var body RollbackRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.RollBack(r.Context(), r.PathValue("name"), body.Snapshot, body.Disconnect, blockstore.SnapshotRequest{
		Name: body.As, Owner: body.Owner, RequestID: requestID(r), Discard: body.Discard,
	})
}
