package v1

import (
	"goldstream/access"
	"goldstream/blockstore"
	"goldstream/lifecycle/task"
)

// operations describes each route, for OpenAPI. A test asks for missing rows.
func operations() map[string]operation {
	m := map[string]operation{}
	for _, part := range []map[string]operation{
		systemOperations(), accountOperations(), imageOperations(), volumeOperations(),
		bootOperations(), planOperations(), resourceOperations(),
	} {
		for pattern, op := range part {
			m[pattern] = op
		}
	}
	return m
}

func systemOperations() map[string]operation {
	return map[string]operation{
		"GET /healthz":      {does: "Whether the process answers.", out: Health{}},
		"GET /readyz":       {does: "Whether all parts work; 503 where one does not.", out: Readiness{}},
		"GET /metrics":      {does: "Figures in the text format of Prometheus.", gives: typeMetrics},
		"GET /openapi.json": {does: "This description.", out: map[string]any{}},
		"GET /v1/version":   {does: "The version of the daemon.", out: Version{}},

		"GET /v1/status":             {does: "What the daemon holds.", out: Status{}},
		"GET /v1/connections":        {does: "NBD clients and what they did.", out: ConnectionList{}},
		"GET /v1/usage":              {does: "What each disk takes and shares.", out: blockstore.UsageReport{}},
		"GET /v1/stats":              {does: "What the store did and holds.", out: blockstore.Stats{}},
		"GET /v1/events":             {does: "The audit trail behind a number.", query: "behind limit", out: EntryList{}},
		"GET /v1/store/checkpoints":  {does: "Copies of the metadata.", out: CheckpointList{}},
		"POST /v1/store/checkpoints": {does: "Keep a copy of the metadata.", out: blockstore.CheckpointInfo{}},
		"POST /v1/store/check":       {does: "Compare records and files of the store.", out: blockstore.CheckReport{}, lines: true},
		"GET /v1/store/dump":         {does: "All metadata as lines of JSON.", gives: TypeNDJSON},
		"GET /v1/scrub":              {does: "The scrub that runs, or the last one.", out: blockstore.ScrubReport{}},
		"POST /v1/scrub":             {does: "Begin to read all and compare checksums.", out: blockstore.ScrubReport{}},
		"DELETE /v1/scrub":           {does: "End the scrub.", out: blockstore.ScrubReport{}},
		"GET /v1/tasks":              {does: "Tasks.", out: TaskList{}},
		"GET /v1/tasks/{id}":         {does: "A task; with revision, once it has another one or after 30 seconds.", query: "behind revision", out: task.Info{}},
		"POST /v1/tasks/{id}/cancel": {does: "Have a task undone.", out: task.Info{}},
		"POST /v1/mounts":            {does: "Show disks as files, over an upgraded connection.", in: MountRequest{}, gives: upgradeMount},
	}
}

func accountOperations() map[string]operation {
	return map[string]operation{
		"POST /v1/sessions":          {does: "Begin a session; a one-time password needs a new one with it.", in: LoginRequest{}, out: Login{}},
		"GET /v1/sessions/own":       {does: "Who makes the request.", out: Whoami{}},
		"DELETE /v1/sessions/own":    {does: "End the session."},
		"GET /v1/users":              {does: "Users.", out: UserList{}},
		"POST /v1/users":             {does: "Make a user.", in: UserRequest{}, out: access.User{}},
		"PUT /v1/users/{name}":       {does: "Change role or password.", in: UserRequest{}, out: access.User{}},
		"DELETE /v1/users/{name}":    {does: "Delete a user, with sessions and API tokens."},
		"GET /v1/api-tokens":         {does: "API tokens: one's own, or all for infrastructure.", out: APITokenList{}},
		"POST /v1/api-tokens":        {does: "Make an API token, which is told this once.", in: APITokenRequest{}, out: CreatedAPIToken{}},
		"DELETE /v1/api-tokens/{id}": {does: "Take an API token back."},
	}
}

func imageOperations() map[string]operation {
	return map[string]operation{
		"GET /v1/images":                 {does: "Golden images.", out: ImageList{}},
		"GET /v1/images/{name}":          {does: "A golden image.", out: blockstore.ImageInfo{}},
		"DELETE /v1/images/{name}":       {does: "Delete a golden image; clones stay."},
		"GET /v1/images/{name}/export":   {does: "The disk, in the format raw, zstd or sparse.", query: "format", gives: TypeRaw},
		"POST /v1/images/{name}/import":  {does: "Import what is sent, or on the socket a file of the host.", query: "owner", in: ImportRequest{}, takes: TypeRaw, out: blockstore.ImageInfo{}, lines: true},
		"POST /v1/images/{name}/verify":  {does: "Compare an image with its checksums.", out: blockstore.VerifyReport{}, lines: true},
		"POST /v1/images/{name}/repair":  {does: "Write what is damaged anew, from another copy.", in: RepairRequest{}, takes: TypeRaw, out: blockstore.RepairReport{}, lines: true},
		"POST /v1/images/{name}/digest":  {does: "Content id and, if asked for, SHA-256 of the raw disk.", query: "sha256", out: blockstore.ImageDigests{}, lines: true},
		"POST /v1/images/{name}/capture": {does: "Make an image of a volume or a snapshot.", in: CaptureRequest{}, out: blockstore.ImageInfo{}, lines: true},

		"GET /v1/bundles":                 {does: "Artifact bundles.", out: BundleList{}},
		"POST /v1/bundles":                {does: "Keep a bundle that is sent.", query: "name", takes: TypeZIP, out: BundleInfo{}, lines: true},
		"GET /v1/bundles/{name}":          {does: "A bundle.", out: BundleInfo{}},
		"PUT /v1/bundles/{name}":          {does: "Give a bundle another name or description.", in: BundleChangeRequest{}, out: BundleInfo{}},
		"DELETE /v1/bundles/{name}":       {does: "Delete a bundle; what was imported stays."},
		"GET /v1/bundles/{name}/file":     {does: "The file of a bundle.", gives: TypeZIP},
		"POST /v1/bundles/{name}/preview": {does: "What an import would do.", in: BundleImportRequest{}, out: BundleChanges{}},
		"POST /v1/bundles/{name}/import":  {does: "Make the plans and images of a bundle, as a task.", in: BundleImportRequest{}, out: task.Info{}},
		"POST /v1/captures":               {does: "Make an image of a volume by a capture plan, as a task.", in: CaptureByPlan{}, out: task.Info{}},
		"POST /v1/captures/preview":       {does: "Check a capture and show its program, secrets masked.", in: CaptureByPlan{}, out: Preview{}},
		"POST /v1/bundle-requests":        {does: "Make a bundle of plans and images, as a task.", in: BundleRequest{}, out: task.Info{}},
	}
}

func volumeOperations() map[string]operation {
	volume := blockstore.VolumeInfo{}
	return map[string]operation{
		"GET /v1/volumes":                         {does: "OS volumes.", out: VolumeList{}},
		"POST /v1/volumes":                        {does: "Clone an image or a snapshot, or make an empty volume.", in: CreateRequest{}, out: volume},
		"GET /v1/volumes/{name}":                  {does: "An OS volume.", out: volume},
		"POST /v1/volumes/{name}/grow":            {does: "Make a volume larger.", in: GrowRequest{}, out: volume},
		"POST /v1/volumes/{name}/quota":           {does: "Bound what a volume itself holds.", in: QuotaRequest{}, out: volume},
		"DELETE /v1/volumes/{name}":               {does: "Delete a volume; with keep it can be restored for that time.", query: "keep"},
		"POST /v1/volumes/{name}/accept-loss":     {does: "Go on with a volume of which a sync failed.", in: AcceptLossRequest{}, out: volume},
		"POST /v1/volumes/{name}/accept-epoch":    {does: "Let clients of older epochs on.", out: volume},
		"POST /v1/volumes/{name}/rollback":        {does: "Have a volume read as a snapshot again.", in: RollbackRequest{}, out: blockstore.SnapshotInfo{}},
		"GET /v1/volumes/{name}/snapshots":        {does: "Snapshots, oldest first.", out: SnapshotList{}},
		"POST /v1/volumes/{name}/snapshots":       {does: "Keep what a volume holds now.", in: SnapshotRequest{}, out: blockstore.SnapshotInfo{}},
		"POST /v1/volumes/{name}/snapshots/prune": {does: "Delete snapshots that no rule keeps.", in: PruneRequest{}, out: Pruned{}},

		"GET /v1/volumes/{name}/snapshots/{snapshot}/export": {does: "The disk, in the format raw, zstd or sparse.", query: "format", gives: TypeRaw},
		"DELETE /v1/volumes/{name}/snapshots/{snapshot}":     {does: "Delete a snapshot."},

		"GET /v1/retired":                 {does: "Deleted volumes that can be restored.", out: RetiredList{}},
		"POST /v1/retired/{id}/restore":   {does: "Bring a deleted volume back.", in: RestoreRequest{}, out: volume},
		"DELETE /v1/retired/{id}":         {does: "Remove a deleted volume for good."},
		"POST /v1/volumes/{name}/exports": {does: "Make a token by which a volume is opened over NBD; it is told this once.", in: TokenRequest{}, out: CreatedToken{}},
		"GET /v1/exports":                 {does: "Such tokens, without their secrets.", out: TokenList{}},
		"DELETE /v1/exports/{id}":         {does: "Take such a token back and cut off who came in by it."},
	}
}

func bootOperations() map[string]operation {
	return map[string]operation{
		"GET /v1/boot":                       {does: "Servers that boot from volumes, and strangers that asked.", out: BootList{}},
		"POST /v1/boot/files":                {does: "Keep boot files, a tar archive with boot.json first.", takes: TypeRaw, out: BootFiles{}},
		"PUT /v1/volumes/{name}/boot":        {does: "Have a server boot from a volume.", in: BootRequest{}, out: BootServer{}},
		"POST /v1/volumes/{name}/boot/files": {does: "Give a server other boot files.", in: BootFiles{}, out: BootServer{}},
		"POST /v1/volumes/{name}/boot/next":  {does: "How a server boots once.", in: BootMode{}, out: BootServer{}},
		"DELETE /v1/volumes/{name}/boot":     {does: "Take a volume from its server."},
	}
}

func planOperations() map[string]operation {
	return map[string]operation{
		"GET /v1/plans":                  {does: "Plan scripts, build plans and deployment plans.", out: PlanList{}},
		"POST /v1/plans":                 {does: "Keep the plans of a file in YAML, all or none.", query: "dryRun", takes: TypeYAML, out: PlanChanges{}},
		"GET /v1/plans/{kind}/{name}":    {does: "A plan.", out: Plan{}},
		"DELETE /v1/plans/{kind}/{name}": {does: "Delete a plan that no other uses."},
		"POST /v1/deployments":           {does: "Make an OS volume by a deployment plan, as a task.", in: DeployRequest{}, out: task.Info{}},
		"POST /v1/deployments/preview":   {does: "Check a deployment and show its program, secrets masked.", in: DeployRequest{}, out: Preview{}},
	}
}

func resourceOperations() map[string]operation {
	m := map[string]operation{
		"POST /v1/profiles/{name}/redeploy": {does: "Have the OS volume made anew.", query: "dryRun confirm", out: Outcome{}},
		"POST /v1/profiles/{name}/comply":   {does: "Make a profile what its template says.", query: "dryRun confirm", out: Outcome{}},
		"POST /v1/check-profiles":           {does: "Where profiles and the store do not agree.", out: ProfileCheck{}},
	}
	for _, c := range Collections() {
		path, one := "/v1/"+string(c), NewResource(c)
		m["GET "+path] = operation{does: "All of " + string(c) + ".", out: listOf(c)}
		m["GET "+path+"/{name}"] = operation{does: "One of " + string(c) + ".", out: one}
		m["POST "+path] = operation{does: "Add to " + string(c) + ".", query: "dryRun confirm", in: one, out: Outcome{}}
		m["PUT "+path+"/{name}"] = operation{does: "Change one of " + string(c) + ".", query: "dryRun confirm", in: one, out: Outcome{}}
		m["DELETE "+path+"/{name}"] = operation{does: "Delete one of " + string(c) + ".", query: "dryRun confirm", out: Outcome{}}
	}
	return m
}

// listOf is the type of a list of a collection.
func listOf(c Collection) any {
	switch c {
	case HardwareCollection:
		return MemberList[Hardware]{}
	case TypeCollection:
		return MemberList[HardwareType]{}
	case EnclosureCollection:
		return MemberList[Enclosure]{}
	case GroupCollection:
		return MemberList[EnclosureGroup]{}
	case LogicalCollection:
		return MemberList[LogicalEnclosure]{}
	case TemplateCollection:
		return MemberList[Template]{}
	}
	return MemberList[Profile]{}
}
