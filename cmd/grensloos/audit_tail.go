package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/audit/journal"
	"github.com/grensloos/grensloos/gateway/beheer"
)

// watchers show records, as they are kept, to whoever follows them. They never hold up whoever keeps a record: who can't keep up is
// let go.
type watchers struct {
	mu      sync.Mutex
	all     map[*watcher]bool // guarded by mu
	stopped bool              // guarded by mu
}

type watcher struct {
	records chan audit.Record
	stopped bool // set before records is closed: the process stops; else the watcher was too slow
}

const (
	maxWatchers = 16
	watchBuffer = 4096 // records that wait for one watcher
)

func (w *watchers) show(recs []audit.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.all {
		for _, rec := range recs {
			select {
			case one.records <- rec:
				continue
			default:
			}
			delete(w.all, one)
			close(one.records)
			break
		}
	}
}

func (w *watchers) add() (*watcher, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return nil, beheer.ErrPeerStopt
	}
	if len(w.all) >= maxWatchers {
		return nil, gateway.Errorf(gateway.Unavailable, "records are followed by %d already: let one of them stop", maxWatchers)
	}
	if w.all == nil {
		w.all = map[*watcher]bool{}
	}
	one := &watcher{records: make(chan audit.Record, watchBuffer)}
	w.all[one] = true
	return one, nil
}

func (w *watchers) remove(one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all[one] {
		delete(w.all, one)
		close(one.records)
	}
}

// stop ends all following: the process stops.
func (w *watchers) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	for one := range w.all {
		one.stopped = true
		close(one.records)
	}
	clear(w.all)
}

// followed gives the records of this process: what the journal still has, then what is kept from then on.
type followed struct {
	journal *journal.Journal
	watch   *watchers
}

const (
	// page is how many records of the journal are in memory at a time for one follower.
	page = 2000
	// late is how long before it was kept a record may have been made.
	late = time.Minute
)

// Volg is what beheer asks for.
func (f followed) Volg(ctx context.Context, since time.Time, begin func(time.Time) error, each func(audit.Record) error) error {
	one, err := f.watch.add()
	if err != nil {
		return err
	}
	defer f.watch.remove(one)
	from, err := f.begins(since)
	if err != nil {
		return err
	}
	if err := begin(from); err != nil {
		return err
	}
	given, err := f.kept(since, time.Now().Add(-late), each)
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case rec, more := <-one.records:
			switch {
			case !more && one.stopped:
				return beheer.ErrPeerStopt
			case !more:
				return gateway.Errorf(gateway.Unavailable, "records come faster than they are read")
			case given[rec.ID]:
				delete(given, rec.ID)
				continue
			}
			if err := each(rec); err != nil {
				return err
			}
		}
	}
}

var errEnough = errors.New("enough")

// begins says from when on the journal has everything since.
func (f followed) begins(since time.Time) (time.Time, error) {
	from := since
	err := f.journal.Scan(time.Time{}, func(e journal.Entry) error {
		if e.Seq > 1 && e.Record.Tijd.After(since) {
			from = e.Record.Tijd
		}
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return from, err
}

// kept gives what the journal has since a moment, and returns the ids of what was made after recent: those come again. It reads
// page by page, since the journal can't let go of a file while somebody scans it.
func (f followed) kept(since, recent time.Time, each func(audit.Record) error) (map[string]bool, error) {
	given := map[string]bool{}
	for last := uint64(0); ; {
		var recs []audit.Record
		err := f.journal.Scan(since, func(e journal.Entry) error {
			if e.Seq <= last {
				return nil
			}
			if len(recs) == page {
				return errEnough
			}
			last = e.Seq
			recs = append(recs, e.Record)
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return nil, err
		}
		for _, rec := range recs {
			if !rec.Tijd.Before(recent) {
				given[rec.ID] = true
			}
			if err := each(rec); err != nil {
				return nil, err
			}
		}
		if err == nil {
			return given, nil
		}
	}
}

func auditTailCommand() *cobra.Command {
	var (
		file    string
		id      identity
		soorten []string
		since   string
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "tail -c peer.yaml [--soort adl,afloop] [--sinds 10m]",
		Short: "Follow the records of a peer as they are kept",
		Long: `Follow the records of a peer as they are kept, until you press Ctrl-C.

They come through the beheer API with role privacy-officer. That you look is recorded once for each session; a session lasts as long
as its token, and a new one begins by itself. With --sinds what was kept before comes first, as far as the peer's journal has it; the
first line says from when on nothing is missing. When the peer goes away the command waits for it and goes on where it was.

Exit codes: 0 ended with Ctrl-C; 2 the command is not right; 1 refused by the peer.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			t := &tail{cfg: cfg, id: &id, soorten: soorten, json: asJSON, out: cmd.OutOrStdout(), notes: cmd.ErrOrStderr()}
			if t.since, err = sinceWhen(since, time.Now()); err != nil {
				return err
			}
			return t.run(cmd.Context())
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the peer's configuration file")
	_ = cmd.MarkFlagRequired("config")
	var names []string
	for _, s := range audit.Soorten() {
		names = append(names, string(s))
	}
	cmd.Flags().StringSliceVar(&soorten, "soort", nil, "only these kinds: "+strings.Join(names, ", "))
	_ = cmd.RegisterFlagCompletionFunc("soort", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringVar(&since, "sinds", "", "also what was kept since then: a time (2026-11-23T09:30:00Z) or how long ago (10m)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	id.flags(cmd, beheer.RolPrivacyOfficer)
	return cmd
}

// sinceWhen reads a time, or how long before now.
func sinceWhen(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, usage("--sinds %q: give a time such as 2026-11-23T09:30:00Z, or how long ago, such as 10m", text)
	}
	return at, nil
}

// tail is one run of the command.
type tail struct {
	cfg     *Config
	id      *identity
	soorten []string
	json    bool
	out     io.Writer
	notes   io.Writer

	since time.Time            // zero: only what is new
	seen  map[string]time.Time // records at about since or later, so that coming back repeats none
}

const (
	tailRetry    = time.Second
	tailMaxRetry = 15 * time.Second
	maxEvent     = 2 << 20 // bytes of one event; a record is at most 900 kB
)

// run follows, and comes back when a session ends, until ctx does.
func (t *tail) run(ctx context.Context) error {
	pause := tailRetry
	for {
		began, err := t.session(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // Ctrl-C is how it ends
		}
		if r, ok := errors.AsType[*refusal](err); ok && r.Status < 500 {
			return err
		}
		if _, ok := errors.AsType[exit](err); ok {
			return err
		}
		if began {
			pause = tailRetry
		}
		if err != nil {
			fmt.Fprintf(t.notes, "verbinding weg: %s; nieuwe poging over %v\n", oneLine(err.Error()), pause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, tailMaxRetry)
	}
}

// session is one connection; began is true when the stream did.
func (t *tail) session(ctx context.Context) (began bool, err error) {
	a, err := newAPI(t.cfg, "beheer.luister", t.cfg.Beheer.Listen, t.id)
	if err != nil {
		return false, exit{code: cmp.Or(exitCode(err), 1), err: err}
	}
	query := url.Values{}
	if len(t.soorten) > 0 {
		query.Set("soort", strings.Join(t.soorten, ","))
	}
	if !t.since.IsZero() {
		since := t.since
		if len(t.seen) > 0 { // coming back: records of one moment are not kept in the order of their times
			since = since.Add(-late)
		}
		query.Set("sinds", since.UTC().Format(time.RFC3339Nano))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"/vastleggingen?"+query.Encode(), nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Accept", "text/event-stream")
	a.http.Timeout = 0 // it lasts as long as it lasts
	resp, err := a.http.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return false, refused(resp)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 64<<10), maxEvent)
	name := ""
	for lines.Scan() {
		switch key, value, _ := strings.Cut(lines.Text(), ": "); key {
		case "event":
			name = value
		case "data":
			if done, err := t.event(name, []byte(value)); done || err != nil {
				return true, err
			}
		}
	}
	return true, cmp.Or(lines.Err(), errors.New("the stream broke off"))
}

// event shows one event; done is true when it was the last.
func (t *tail) event(name string, data []byte) (done bool, err error) {
	switch name {
	case beheer.EventBegin:
		var b beheer.BeginJSON
		if err := json.Unmarshal(data, &b); err != nil {
			return false, fmt.Errorf("event begin: %w", err)
		}
		if t.since.IsZero() {
			t.since = b.Vanaf
		} else if b.Vanaf.After(t.since.Add(time.Millisecond)) {
			fmt.Fprintf(t.notes, "volledig vanaf %s: wat ouder is heeft het journaal niet meer\n", b.Vanaf.Format(time.RFC3339))
		}
	case beheer.EventEinde:
		var e beheer.EindeJSON
		if err := json.Unmarshal(data, &e); err != nil {
			return false, fmt.Errorf("event einde: %w", err)
		}
		if e.Reden == beheer.EindeVerlopen {
			return true, nil
		}
		return true, fmt.Errorf("de peer beëindigt de stroom: %.40s", e.Reden)
	case beheer.EventVastlegging:
		var v beheer.GevolgdJSON
		if err := json.Unmarshal(data, &v); err != nil {
			return false, fmt.Errorf("event vastlegging: %w", err)
		}
		return false, t.show(v, data)
	}
	return false, nil
}

func (t *tail) show(v beheer.GevolgdJSON, raw []byte) error {
	if _, again := t.seen[v.ID]; again {
		return nil
	}
	if v.Tijd.After(t.since) {
		t.since = v.Tijd
	}
	if t.seen == nil {
		t.seen = map[string]time.Time{}
	}
	t.seen[v.ID] = v.Tijd
	if len(t.seen) > page {
		maps.DeleteFunc(t.seen, func(_ string, at time.Time) bool { return at.Before(t.since.Add(-2 * late)) })
	}
	if t.json {
		_, err := t.out.Write(append(slices.Clone(raw), '\n'))
		return err
	}
	e := event{Tijd: v.Tijd, Soort: v.Soort, ID: v.ID, Inhoud: v.Inhoud}
	_, err := fmt.Fprintf(t.out, "%s  %-10s  %-36s  %s\n", v.Tijd.Format("2006-01-02 15:04:05.000000"), v.Soort, or(string(v.Transactie), "-"), oneLine(summary(e)))
	return err
}
