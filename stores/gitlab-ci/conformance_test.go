package gitlabcistore

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/rotatord/rotatord/rotator"
	"github.com/rotatord/rotatord/stores/storetest"
)

func TestProject(t *testing.T) { conformance(t, "team/crm.api#INSTASENT_TOKEN") }

func TestProjectScope(t *testing.T) { conformance(t, "team/crm.api#INSTASENT_TOKEN@review/*") }

func TestGroup(t *testing.T) { conformance(t, "group:team/sub#INSTASENT_TOKEN") }

func conformance(t *testing.T, key string) {
	t.Helper()
	const refusing = "glpat-s3cr3t-but-refused"
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		l := newLab(t)
		return storetest.Harness{
			Store: opened(t, l.server.URL, goodToken),
			Key:   key,
			Bad: []string{
				"", "#", "VAR", "crm#VAR", "team/crm", "team/crm#", "team/crm#A-B", "team/crm#A#B", "team/..#VAR", "../crm#VAR", "team/./crm#VAR", "/team/crm#VAR",
				"team/crm/#VAR", "team//crm#VAR", "team%2Fcrm#VAR", "team/crm?x#VAR", "team/crm#VAR@", "team/crm#VAR@a\nb", "team/crm#VAR@a&b", "group:#VAR", "group:..#VAR",
				"group:/a#VAR", "team/cr m#VAR",
			},
			Write:       func(t testing.TB, key, value string) { l.set(t, key, value) },
			Read:        l.read,
			Breaking:    opened(t, l.breaking(t), goodToken),
			Unreachable: opened(t, "http://"+closedPort(t), goodToken),
			Refused:     opened(t, l.server.URL, refusing),
			Secrets:     []string{refusing, goodToken, "s3cr3t"},
			Lacks:       storetest.Lacks{Fields: true, CompareAndSet: true},
		}
	})
}

// breaking is the lab behind a connection that breaks in the middle of each write.
func (l *lab) breaking(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			l.server.Config.Handler.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body[:len(body)/2]))
		l.server.Config.Handler.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// opened returns a store that makes variables.
func opened(t testing.TB, server, token string, change ...func(*Config)) *Store {
	t.Helper()
	name := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(name, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Config{BaseURL: address(server), Token: rotator.SecretSource{File: name}, Create: true}
	for _, f := range change {
		f(&c)
	}
	store, err := New(t.Context(), c)
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	t.Cleanup(func() { _ = store.(*Store).Close() })
	return store.(*Store)
}

func closedPort(t testing.TB) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}
