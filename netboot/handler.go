package netboot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"goldstream/netboot/initramfs"
)

// Options say how a Handler works.
type Options struct {
	// Host knows the servers. It must be set.
	Host Host
	// Helper returns goldstream-guest, as it goes into initrds. It must be set.
	Helper func() ([]byte, error)
	// Log hears of boots and their stages, as far as Limited lets it. It must be set.
	Log *slog.Logger
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Handler answers servers that boot.
type Handler struct {
	o     Options
	boots *boots
	mux   *http.ServeMux
}

// Prefix is where in the tree of URLs the handler is.
const Prefix = "/boot/"

// NewHandler returns a handler of all below Prefix.
func NewHandler(o Options) *Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Log = Limited(o.Log)
	h := &Handler{o: o, boots: newBoots(o.Now), mux: http.NewServeMux()}
	h.mux.HandleFunc("GET "+Prefix+"boot.ipxe", func(w http.ResponseWriter, _ *http.Request) { script(w, asker) })
	h.mux.HandleFunc("GET "+Prefix+"script", h.script)
	h.mux.HandleFunc("GET "+Prefix+"b/{boot}/kernel", h.kernel)
	h.mux.HandleFunc("GET "+Prefix+"b/{boot}/initrd", h.initrd)
	h.mux.HandleFunc("POST "+Prefix+"b/{boot}/stage/{stage}", h.stage)
	return h
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(sendTimeout)) // recorders in tests have none
	h.mux.ServeHTTP(w, r)
}

func script(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=us-ascii")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = io.WriteString(w, text)
}

// remote is who asks, reached the address that it asked.
func remote(r *http.Request) netip.Addr {
	p, _ := netip.ParseAddrPort(r.RemoteAddr)
	return p.Addr().Unmap().WithZone("")
}

func reached(r *http.Request) netip.AddrPort {
	a, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

// script renders the script of one server. All answers are scripts: iPXE shows no
// text of an error.
func (h *Handler) script(w http.ResponseWriter, r *http.Request) {
	from := remote(r)
	id, err := claimed(r.URL.Query())
	if err != nil {
		h.o.Log.Warn("a server asks for its boot without an identity", "from", from, "error", err)
		script(w, screen("This server does not say who it is: "+err.Error()))
		return
	}
	rec, err := h.o.Host.Server(r.Context(), id)
	switch {
	case errors.Is(err, ErrUnknown):
		if h.boots.stranger(id, from) {
			h.o.Log.Info("a server that is not known asks for its boot", "from", from, "identity", id.String())
		}
		script(w, screen("This server is not known to goldstream: "+id.String(),
			"Give it a volume: goldstream boot assign VOLUME --mac "+id.MAC))
	case errors.Is(err, ErrConflict):
		h.refuse(r.Context(), from, id, err.Error())
		script(w, screen("Refused: the identity of this server belongs to another one", id.String()))
	case err != nil:
		h.o.Log.Error("a server cannot boot", "from", from, "identity", id.String(), "error", err)
		script(w, screen("goldstream cannot look this server up now, see its log"))
	case !allowed(rec.Allow, from):
		h.refuse(r.Context(), from, id, fmt.Sprintf("volume %s is asked for from %s, which may not have it", rec.Volume, from))
		script(w, screen("Refused: this server asks from the address "+from.String()+", which may not have its volume"))
	default:
		h.boots.known(id)
		script(w, h.scriptFor(r.Context(), rec, id, from))
	}
}

func allowed(ranges []netip.Prefix, from netip.Addr) bool {
	for _, p := range ranges {
		if p.Contains(from) {
			return true
		}
	}
	return len(ranges) == 0
}

func (h *Handler) refuse(ctx context.Context, from netip.Addr, id Identity, why string) {
	h.o.Log.Warn("a boot is refused", "from", from, "identity", id.String(), "why", why)
	h.o.Host.Refused(ctx, from, id, why)
}

func (h *Handler) scriptFor(ctx context.Context, rec Record, id Identity, from netip.Addr) string {
	one := Boot{Record: rec.ID, Volume: rec.Volume, Mode: rec.Mode, From: from, Claim: id}
	log := h.o.Log.With("volume", rec.Volume, "from", from, "identity", id.String())
	if rec.Mode == ModeLocal {
		h.boots.begin(one)
		h.o.Host.Began(ctx, rec.ID)
		log.Info("boot", "stage", StageScript, "mode", rec.Mode)
		return localScript
	}
	f, err := h.o.Host.BootFiles(ctx, rec.ID)
	line := ""
	if err == nil {
		line, err = commandLine(f, rec, id.MAC)
	}
	if err != nil {
		one.Problem = err.Error()
		h.boots.problem(one)
		log.Error("a server cannot boot", "error", err)
		return screen("Volume "+rec.Volume+" cannot be booted: "+err.Error(), "Look at: goldstream boot status "+rec.Volume)
	}
	if one.Changed = h.o.Host.Changed(ctx, rec.ID); one.Changed {
		log.Warn("the volume was written where its boot files came from: it boots those of before ('goldstream boot refresh')")
	}
	log.Info("boot", "stage", StageScript, "mode", rec.Mode)
	return volumeScript(h.boots.begin(one), rec.Volume, line)
}

// boot finds the boot of a request, which must come from where its script went, and
// may still be answered.
func (h *Handler) boot(w http.ResponseWriter, r *http.Request) (one Boot, ok bool) {
	one, ok = h.boots.get(r.PathValue("boot"))
	if ok && one.From != remote(r) {
		h.refuse(r.Context(), remote(r), Identity{}, fmt.Sprintf("files of volume %s were asked for with a script that went to %s", one.Volume, one.From))
		ok = false
	}
	if ok {
		rec, err := h.o.Host.Record(r.Context(), one.Record)
		if err != nil && !errors.Is(err, ErrUnknown) {
			h.fail(w, one, err)
			return one, false
		}
		ok = err == nil && allowed(rec.Allow, one.From)
	}
	if !ok {
		http.Error(w, "no such boot", http.StatusNotFound)
	}
	return one, ok
}

// files finds the boot of a request and its files.
func (h *Handler) files(w http.ResponseWriter, r *http.Request) (one Boot, f Files, ok bool) {
	if one, ok = h.boot(w, r); !ok {
		return one, f, false
	}
	f, err := h.o.Host.BootFiles(r.Context(), one.Record)
	if err != nil {
		h.fail(w, one, err)
	}
	return one, f, err == nil
}

func (h *Handler) kernel(w http.ResponseWriter, r *http.Request) {
	one, f, ok := h.files(w, r)
	if !ok {
		return
	}
	kernel, size, err := f.Open(FileKernel)
	if err != nil {
		h.fail(w, one, err)
		return
	}
	defer kernel.Close()
	if one.Mode != ModeVolume {
		h.o.Host.Began(r.Context(), one.Record)
	}
	h.send(w, r, StageKernel, kernel, size)
}

func (h *Handler) initrd(w http.ResponseWriter, r *http.Request) {
	one, f, ok := h.files(w, r)
	if !ok {
		return
	}
	a, err := h.segment(r, one, f)
	if err != nil {
		h.fail(w, one, err)
		return
	}
	initrd, size, err := f.Open(FileInitrd)
	if err != nil {
		h.fail(w, one, err)
		return
	}
	defer initrd.Close()
	// The kernel finds the next archive at a multiple of 4 alone.
	gap := make([]byte, padding(size))
	all := io.MultiReader(io.LimitReader(initrd, size), newPiece(gap), a.reader())
	h.send(w, r, StageInitrd, all, size+int64(len(gap))+a.size)
}

func (h *Handler) segment(r *http.Request, one Boot, f Files) (*archive, error) {
	helper, err := h.o.Helper()
	if err != nil {
		return nil, err
	}
	at := reached(r)
	secret, address, err := h.o.Host.Secret(r.Context(), one.Record, at.Addr())
	if err != nil {
		return nil, err
	}
	c := initramfs.Config{
		Server: address, Device: "/dev/nbd0", NIC: one.Claim.MAC,
		Stages: "http://" + at.String() + Prefix + "b/" + r.PathValue("boot") + "/stage/",
	}
	return segment(f, c, secret, helper)
}

func (h *Handler) fail(w http.ResponseWriter, one Boot, err error) {
	if errors.Is(err, ErrUnknown) { // since its script went out
		http.Error(w, "no such boot", http.StatusNotFound)
		return
	}
	h.o.Log.Error("a server cannot boot", "volume", one.Volume, "from", one.From, "error", err)
	http.Error(w, "see the log of goldstream", http.StatusServiceUnavailable)
}

// stage takes what the helper tells, from any address: the kernel's DHCP client may
// be given another one than iPXE. The name of the boot is secret enough for that.
func (h *Handler) stage(w http.ResponseWriter, r *http.Request) {
	one, ok := h.boots.get(r.PathValue("boot"))
	if !ok {
		http.Error(w, "no such boot", http.StatusNotFound)
		return
	}
	switch name := r.PathValue("stage"); name {
	case initramfs.StageInitramfs, initramfs.StageAttached, initramfs.StageMounted:
		h.reached(r.PathValue("boot"), one, name)
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Error(w, "no such stage", http.StatusNotFound)
	}
}

func (h *Handler) reached(id string, one Boot, stage string) {
	if after, ok := h.boots.stage(id, stage); ok {
		h.o.Log.Info("boot", "volume", one.Volume, "from", one.From, "stage", stage, "after", after.Round(time.Millisecond))
	}
}
