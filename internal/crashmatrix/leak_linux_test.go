package crashmatrix

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
)

// TestLeaks lets one daemon rotate again and again: open files and goroutines
// come back to what they were after the first rotations.
func TestLeaks(t *testing.T) {
	if !*faultsFlag {
		t.Skip("slow; see the package's comment")
	}
	t.Parallel()
	const warm, rotations = 3, 25
	s := scenario{name: "leaks", daemon: true, reason: rotator.Manual, asksRollout: true, ends: rotator.Done}
	w := newWorld(t, testservers.Vault(t), s, nil)
	daemon := w.start(t, nil, "serve")
	client := server.NewClient(w.socket())
	t.Cleanup(client.Close)
	var files []string
	var goroutines int
	ended := ""
	for round := range rotations {
		until(t, fmt.Sprintf("rotation %d", round), func() bool {
			found, err := client.Tokens(t.Context(), token)
			if err != nil || len(found) != 1 {
				return false
			}
			switch {
			case found[0].Open != nil:
				return false
			case found[0].Last != nil && found[0].Last.ID != ended:
				ended = found[0].Last.ID
				if found[0].Last.Status != rotator.Done {
					t.Fatalf("rotation %d ended as %s", round, found[0].Last.Status)
				}
				return true
			}
			_, err = client.Rotate(t.Context(), token, rotator.Manual, "")
			if err != nil {
				t.Logf("rotate: %v", err)
			}
			return false
		})
		if round == warm-1 {
			files, goroutines = w.open(t, daemon)
		}
	}
	var filesNow []string
	var goroutinesNow int
	const margin = 3 // connections come and go
	for end := time.Now().Add(45 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		filesNow, goroutinesNow = w.open(t, daemon)
		if len(filesNow) <= len(files)+margin && goroutinesNow <= goroutines+margin {
			t.Logf("after %d rotations %d files and %d goroutines; after %d rotations %d and %d", warm, len(files), goroutines, rotations, len(filesNow), goroutinesNow)
			return
		}
	}
	t.Errorf("after %d rotations %d files and %d goroutines; after %d rotations %d and %d:\n%s\nwere\n%s",
		warm, len(files), goroutines, rotations, len(filesNow), goroutinesNow, strings.Join(filesNow, "\n"), strings.Join(files, "\n"))
}

// open counts what a daemon has open: its files, by where they lead, and its goroutines.
func (w *world) open(t *testing.T, daemon *process) (files []string, goroutines int) {
	t.Helper()
	folder := filepath.Join("/proc", strconv.Itoa(daemon.cmd.Process.Pid), "fd")
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Skipf("the open files of another process can't be seen here: %v", err)
	}
	for _, entry := range entries {
		if target, err := os.Readlink(filepath.Join(folder, entry.Name())); err == nil { // else it is closed by now
			files = append(files, target)
		}
	}
	slices.Sort(files)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.listen+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if number, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			if goroutines, err = strconv.Atoi(number); err != nil {
				t.Fatal(err)
			}
			return files, goroutines
		}
	}
	t.Fatal("the metrics lack go_goroutines")
	return nil, 0
}
