package crashmatrix

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rotatord/rotatord/internal/testservers"
)

var (
	matrixFlag = flag.String("matrix", "", "kill at every point: all, or sample: the acts of the plain rotation; empty: skip")
	writeFlag  = flag.String("write", "", "with -matrix: the page, from the repository's root, that gets the table")
)

// A point is where a rotatord was killed: the nth pass of a name. second, if not
// empty, is where the one started after it was killed too.
type point struct {
	name   string
	pass   int
	second string
}

func (p point) String() string {
	text := fmt.Sprintf("%s#%d", p.name, p.pass)
	if p.second != "" {
		text += " then " + p.second
	}
	return text
}

// A cell is what was found after a kill at a point.
type cell struct {
	scenario string
	point    point
	reached  bool
	recovery []string // points that the process after the kill passed
	found
}

// TestMatrix kills rotatord at every point that a dry run passes, starts it
// again, and looks. Points that only a process after a kill passes are learned
// on the way; then two processes in a row are killed.
func TestMatrix(t *testing.T) {
	if *matrixFlag == "" {
		t.Skip("slow; see the package's comment, or `make crash-matrix`")
	}
	vault := testservers.Vault(t)
	var all []cell
	for _, s := range scenarios() {
		if *matrixFlag == "sample" && s.name != "plain" {
			continue
		}
		dry, order := dryRun(t, vault, s)
		cells := killAtAll(t, vault, s, s.name, dry)
		if *matrixFlag == "all" {
			cells = append(cells, killAtAll(t, vault, s, s.name+" twice", afterKill(dry, cells))...)
		}
		slices.SortStableFunc(cells, func(a, b cell) int {
			return cmp.Or(cmp.Compare(order[a.point.name], order[b.point.name]), cmp.Compare(a.point.pass, b.point.pass), cmp.Compare(a.point.second, b.point.second))
		})
		all = append(all, cells...)
	}
	report(t, all)
}

// dryRun rotates without a kill. It returns the points of the rotation, and in
// which order their names came.
func dryRun(t *testing.T, vault *testservers.VaultServer, s scenario) (points []point, order map[string]int) {
	t.Helper()
	order = map[string]int{}
	t.Run(s.name+"/dry run", func(t *testing.T) {
		w := newWorld(t, vault, s, nil)
		list := filepath.Join(w.dir, "points")
		w.play(t, playOptions{list: list})
		var f found
		w.look(t, &f)
		for _, problem := range f.problems {
			t.Error(problem)
		}
		passes := map[string]int{}
		for _, name := range namesIn(t, list) {
			if passes[name]++; passes[name] > most(name) {
				continue
			}
			if _, known := order[name]; !known {
				order[name] = len(order)
			}
			points = append(points, point{name: name, pass: passes[name]})
		}
	})
	if *matrixFlag == "sample" {
		points = slices.DeleteFunc(points, func(p point) bool { return !strings.HasPrefix(p.name, "act/") || p.pass > 1 })
	}
	return points, order
}

// most is how many passes of a point are gone through: how often consumers are
// looked at depends on time and chance.
func most(name string) int {
	if strings.HasPrefix(name, "act/look/") || strings.HasPrefix(name, "append/observed/") {
		return 4
	}
	return 1000
}

func namesIn(t *testing.T, list string) []string {
	t.Helper()
	raw, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(raw))
}

// afterKill returns a second kill for every name that only came up after a first.
func afterKill(dry []point, cells []cell) []point {
	known := map[string]bool{}
	for _, p := range dry {
		known[p.name] = true
	}
	var points []point
	for _, c := range cells {
		for _, name := range c.recovery {
			if !known[name] {
				known[name] = true
				points = append(points, point{name: c.point.name, pass: c.point.pass, second: name})
			}
		}
	}
	return points
}

// killAtAll goes through points, several at a time.
func killAtAll(t *testing.T, vault *testservers.VaultServer, s scenario, title string, points []point) []cell {
	t.Helper()
	var mu sync.Mutex
	cells := make([]cell, 0, len(points))
	t.Run(title, func(t *testing.T) {
		for _, p := range points {
			t.Run(strings.ReplaceAll(p.String(), "/", "."), func(t *testing.T) {
				t.Parallel()
				c := killAt(t, vault, s, p)
				for _, problem := range c.problems {
					t.Error(problem)
				}
				mu.Lock()
				defer mu.Unlock()
				cells = append(cells, c)
			})
		}
	})
	return cells
}

// killAt is one run: up to the point, again up to the second one, to the end.
func killAt(t *testing.T, vault *testservers.VaultServer, s scenario, p point) cell {
	c := cell{scenario: s.name, point: p}
	w := newWorld(t, vault, s, nil)
	c.reached = w.play(t, playOptions{crashAt: fmt.Sprintf("%s#%d", p.name, p.pass)})
	if c.reached {
		w.lookAfterKill(&c.found)
		if p.second != "" {
			if c.reached = w.play(t, playOptions{crashAt: p.second}); c.reached {
				w.lookAfterKill(&c.found)
			}
		}
	}
	if c.reached {
		list := filepath.Join(w.dir, "points")
		if w.play(t, playOptions{list: list}) {
			t.Error("killed without being told to")
		}
		if _, err := os.Stat(list); err == nil { // nothing was left to do
			c.recovery = namesIn(t, list)
		}
	}
	w.look(t, &c.found)
	return c
}
