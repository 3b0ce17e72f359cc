package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"mqttsn-gateway/gateway/admin"
)

// reloadable is a part of the gateway whose files may change while it runs: keys,
// certificates, passwords, rights.
type reloadable interface {
	// Files are the files that Reload reads; none if there are none to be looked at.
	Files() []string
	// Reload reads the files anew, and forgets what was learnt elsewhere, such as keys from
	// a server. If one of them cannot be used, nothing changes, and the error names the option,
	// the file and the reason.
	Reload() error
}

// watchPause is the time between two looks at the files. One that has changed is read when it
// is the same at two looks, lest it be half written.
const watchPause = 2 * time.Second

// reloader has the parts of the gateway read their files anew: when it is told to, and when a
// file has changed.
type reloader struct {
	log     *slog.Logger
	parts   []*watched
	reloads [2]atomic.Uint64 // those that failed, those that did not
}

// watched is a part, and what its files looked like.
type watched struct {
	reloadable
	section string // of the configuration
	read    string // when they were read last
	latest  string
}

func newReloader(log *slog.Logger) *reloader { return &reloader{log: log} }

// add adds a part that has read its files already.
func (r *reloader) add(section string, part reloadable) {
	now := looks(part.Files())
	r.parts = append(r.parts, &watched{part, section, now, now})
}

// hasFiles reports whether there is anything to be looked at.
func (r *reloader) hasFiles() bool {
	return slices.ContainsFunc(r.parts, func(p *watched) bool { return len(p.Files()) > 0 })
}

// run looks at the files until ctx is done, and reads all of them on a signal.
func (r *reloader) run(ctx context.Context, signals <-chan os.Signal) {
	ticker := time.NewTicker(watchPause)
	defer ticker.Stop()
	if !r.hasFiles() {
		ticker.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.look()
		case <-signals:
			r.all()
		}
	}
}

// all reads the files of all parts, and has those without files forget what they have learnt.
func (r *reloader) all() {
	done := serviceReloads()
	defer done()
	if !r.hasFiles() {
		r.log.Info("there is nothing to read anew: no option names a file of keys, certificates, passwords or rights; other options count from the next start on")
	}
	for _, p := range r.parts {
		p.latest = looks(p.Files())
		r.reload(p)
	}
}

// look reads the files that have changed.
func (r *reloader) look() {
	for _, p := range r.parts {
		now := looks(p.Files())
		settled := now == p.latest
		p.latest = now
		if settled && now != p.read {
			r.reload(p)
		}
	}
}

func (r *reloader) reload(p *watched) {
	p.read = p.latest
	files := strings.Join(p.Files(), ", ")
	if err := p.Reload(); err != nil {
		r.reloads[0].Add(1)
		r.log.Error("what has changed cannot be used; what was read before stays in use: "+err.Error(), "section", p.section)
		return
	}
	if files == "" {
		return
	}
	r.reloads[1].Add(1)
	r.log.Info("read anew", "section", p.section, "files", files)
}

// looks is what can be seen of files without reading them.
func looks(names []string) string {
	var b strings.Builder
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(&b, "%q missing\n", name)
			continue
		}
		// A file that replaces another may have its time and length, but then its number differs.
		fmt.Fprintf(&b, "%q %d %d %v %d\n", name, info.ModTime().UnixNano(), info.Size(), info.Mode(), fileNumber(info))
	}
	return b.String()
}

// metrics is what the reloader counts.
func (r *reloader) metrics() admin.Source {
	const name = "mqttsn_gateway_reloads_total"
	return admin.Source{
		Families: []admin.Family{{Name: name, Help: "Times that the files of a part of the gateway were read anew, by what came of it: ok, or failed, which changes nothing.", Kind: admin.Counter, Labels: []string{"result"}}},
		Collect: func(emit admin.Emit) {
			for i, result := range []string{"failed", "ok"} {
				emit(name, float64(r.reloads[i].Load()), result)
			}
		},
	}
}
