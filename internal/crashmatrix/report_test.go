package crashmatrix

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A row gathers the passes of a point.
type row struct {
	point             string
	passes, unreached int
	sum               found
	rollouts, made    span
	bad               bool
}

type span struct{ low, high int }

func (s *span) add(n int) {
	if s.high == 0 {
		s.low = n
	}
	s.low, s.high = min(s.low, n), max(s.high, n)
}

func (s span) String() string {
	if s.low == s.high {
		return fmt.Sprint(s.low)
	}
	return fmt.Sprintf("%d–%d", s.low, s.high)
}

// rowsOf returns the rows of a scenario, in the order of the cells.
func rowsOf(cells []cell, scenario string) []*row {
	var rows []*row
	byName := map[string]*row{}
	for _, c := range cells {
		if c.scenario != scenario {
			continue
		}
		name := "`" + c.point.name + "`"
		if c.point.second != "" {
			name += " then `" + c.point.second + "`"
		}
		r := byName[name]
		if r == nil {
			r = &row{point: name}
			byName[name] = r
			rows = append(rows, r)
		}
		r.add(c)
	}
	return rows
}

func (r *row) add(c cell) {
	r.bad = r.bad || len(c.problems) > 0
	if !c.reached {
		r.unreached++
		return
	}
	r.passes++
	r.sum.calls += c.calls
	r.sum.refused += c.refused
	r.sum.orphans += c.orphans
	r.sum.values += c.values
	r.rollouts.add(c.rollouts)
	r.made.add(c.made)
	// The worst of all passes is shown.
	if r.sum.live == 0 || c.live != 1 {
		r.sum.live = c.live
	}
	for _, each := range []struct {
		all  *string
		one  string
		good bool
	}{
		{&r.sum.stores, c.stores, c.stores == "same"},
		{&r.sum.journal, c.journal, c.journal == "ok"},
		{&r.sum.ended, c.ended, len(c.problems) == 0},
	} {
		if *each.all == "" || !each.good {
			*each.all = each.one
		}
	}
}

func (r *row) write(w io.Writer) {
	verdict := "ok"
	if r.bad {
		verdict = "**BROKEN**"
	}
	if r.passes == 0 {
		_, _ = fmt.Fprintf(w, "| %s | not reached | | | | | | | | | |\n", r.point)
		return
	}
	_, _ = fmt.Fprintf(w, "| %s | %d | %d of %d | %d | %d | %s | %s | %d | %s | %s | %s, %s |\n", r.point, r.passes,
		r.sum.refused, r.sum.calls, r.sum.live, r.sum.orphans, r.sum.stores, r.sum.journal, r.sum.values, r.made, r.rollouts, r.sum.ended, verdict)
}

// report prints the matrix, and writes it into the page that was named.
func report(t *testing.T, cells []cell) {
	t.Helper()
	var page strings.Builder
	kills, broken, calls := 0, 0, int64(0)
	for _, c := range cells {
		if c.reached {
			kills++
			calls += c.calls
		}
		if c.point.second != "" && c.reached {
			kills++
		}
		if len(c.problems) > 0 {
			broken++
		}
	}
	_, _ = fmt.Fprintf(&page, "%s, %d cores, %s/%s, Vault 1.14.1: %d kills in %d rotations, %d calls of workers beside them; %d rotations had a finding.\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, kills, len(cells), calls, broken)
	for _, s := range scenarios() {
		rows := rowsOf(cells, s.name)
		if len(rows) == 0 {
			continue
		}
		_, _ = fmt.Fprintf(&page, "\n### %s: %s\n\n", s.name, s.about)
		_, _ = io.WriteString(&page, "| killed at | passes | refused calls | live | orphans | stores | journal | values on disk | made | rollouts | ended |\n"+
			"| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
		for _, r := range rows {
			r.write(&page)
		}
	}
	_, _ = fmt.Fprint(os.Stdout, page.String()) // the table is what the run is for
	if *writeFlag != "" {
		if err := between(filepath.Join("..", "..", *writeFlag), page.String()); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	beginMark = "<!-- crash matrix: written by `make crash-matrix` -->\n"
	endMark   = "<!-- end of the crash matrix -->\n"
)

// between puts the text between the two marks of a page.
func between(path, text string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(raw), beginMark)
	_, after, ends := strings.Cut(rest, endMark)
	if !begins || !ends {
		return errors.New(path + " lacks the marks around the matrix")
	}
	return os.WriteFile(path, []byte(before+beginMark+"\n"+text+"\n"+endMark+after), 0o600)
}
