package kubernetesstore

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/rotator"
)

const key = "team/crm#INSTASENT_TOKEN"

func secretOf(value, prev string) rotator.Write {
	return rotator.Write{Value: rotator.NewSecret(value), Prev: prev, Attempt: "a"}
}

// put puts a value over whatever is there.
func put(t testing.TB, store *Store, key, value string) (rotator.Version, error) {
	t.Helper()
	now, err := store.Get(t.Context(), key)
	if err != nil && !errors.Is(err, rotator.ErrNotFound) {
		return rotator.Version{}, err
	}
	return store.Put(t.Context(), key, secretOf(value, now.ID))
}

func mustPut(t testing.TB, store *Store, key, value string) rotator.Version {
	t.Helper()
	made, err := put(t, store, key, value)
	if err != nil {
		t.Fatalf("Put(%q) = %v", key, err)
	}
	return made
}

func wantRead(t testing.TB, k kube, key, want string) {
	t.Helper()
	if got, ok := k.read(t, key); got != want || !ok {
		t.Errorf("consumers read %q, %v under %q; want %q", got, ok, key, want)
	}
}

func wantPermanent(t testing.TB, what string, err error, words ...string) {
	t.Helper()
	if !rotator.IsPermanent(err) || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("%s = %v; want a permanent error without a secret", what, err)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s = %v; want %q in it", what, err, word)
		}
	}
}

// managersOf is who the cluster says owns a key.
func managersOf(t testing.TB, k kube, key string) []string {
	t.Helper()
	path, p := pathOf(t, key)
	secret := k.must(t, http.MethodGet, path, "", nil)
	var found []string
	entries, _ := child(secret, "metadata")["managedFields"].([]any)
	for _, entry := range entries {
		if _, owns := child(child(entry.(map[string]any), "fieldsV1"), "f:data")["f:"+p.key]; owns {
			found = append(found, entry.(map[string]any)["manager"].(string)+" "+entry.(map[string]any)["operation"].(string))
		}
	}
	slices.Sort(found)
	return found
}

// What others keep in the Secret stays: its type, labels, keys, and who owns them.
func TestOthersStay(t *testing.T) {
	each(t, func(t *testing.T, k kube) {
		k.namespace(t, "team")
		k.make(t, key, "old", map[string]any{
			"type":     "kubernetes.io/basic-auth",
			"metadata": map[string]any{"labels": map[string]any{"app": "crm"}, "annotations": map[string]any{"a/b": "c"}},
			"data":     map[string]any{"username": encoded("u"), "password": encoded("p"), "MINE": encoded("m")},
		})
		store := k.opened(t, k.admin)
		mustPut(t, store, key, "new")
		mustPut(t, store, "team/crm#SECOND", "2")
		mustPut(t, store, "team/crm#THIRD", "3")
		k.patch(t, "team/crm#x", map[string]any{"data": map[string]any{"SECOND": nil, "THIRD": encoded("edited")}})
		made := mustPut(t, store, key, "newer")
		mustPut(t, store, "team/crm#FOURTH", "4")

		path, _ := pathOf(t, key)
		secret := k.must(t, http.MethodGet, path, "", nil)
		want := map[string]any{
			"INSTASENT_TOKEN": encoded("newer"), "username": encoded("u"), "password": encoded("p"), "MINE": encoded("m"),
			"THIRD": encoded("edited"), "FOURTH": encoded("4"),
		}
		if diff := cmp.Diff(want, secret["data"]); diff != "" {
			t.Errorf("the Secret's data (-want +got):\n%s", diff)
		}
		metadata := child(secret, "metadata")
		if secret["type"] != "kubernetes.io/basic-auth" || child(metadata, "labels")["app"] != "crm" || child(metadata, "annotations")["a/b"] != "c" {
			t.Errorf("the Secret is of type %v with metadata %v", secret["type"], metadata)
		}
		for at, want := range map[string]string{
			key: "rotatord Apply", "team/crm#FOURTH": "rotatord Apply", "team/crm#THIRD": "kubectl-edit Update", "team/crm#MINE": "kubectl-create Update",
		} {
			if got := managersOf(t, k, at); len(got) != 1 || got[0] != want {
				t.Errorf("%s is owned by %q; want %q", at, got, want)
			}
		}
		now, err := store.Get(t.Context(), key)
		if err != nil || now.ID != made.ID || !now.At.IsZero() {
			t.Errorf("Get = %q at %v, %v; want %q without a time, which is that of several keys", now.ID, now.At, err, made.ID)
		}
	})
}

// A key that is alone in its manager's hands has a time.
func TestTime(t *testing.T) {
	each(t, func(t *testing.T, k kube) {
		k.namespace(t, "team")
		k.make(t, key, "old", nil)
		store := k.opened(t, k.admin)
		before := time.Now().Add(-2 * time.Second)
		if made := mustPut(t, store, key, "new"); made.At.Before(before) || made.At.After(time.Now().Add(time.Second)) {
			t.Errorf("the version is of %v; want now", made.At)
		}
	})
}

// What somebody else applied under our name is stated again, with its labels.
func TestAppliedUnderOurName(t *testing.T) {
	each(t, func(t *testing.T, k kube) {
		k.namespace(t, "team")
		k.make(t, key, "old", nil)
		path, _ := pathOf(t, key)
		k.must(t, http.MethodPatch, path+"?fieldManager=rotatord", "application/apply-patch+yaml", map[string]any{
			"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": map[string]any{"SEED": encoded("s")},
			"metadata": map[string]any{"name": "crm", "namespace": "team", "labels": map[string]any{"team": "platform"}},
		})
		store := k.opened(t, k.admin)
		mustPut(t, store, key, "new")
		mustPut(t, store, "team/crm#OTHER", "o")
		secret := k.must(t, http.MethodGet, path, "", nil)
		if child(child(secret, "metadata"), "labels")["team"] != "platform" || child(secret, "data")["SEED"] != encoded("s") {
			t.Errorf("after writes the Secret is %v", secret)
		}
	})
}

func TestCreate(t *testing.T) {
	each(t, func(t *testing.T, k kube) {
		k.namespace(t, "team")
		careful, making := k.opened(t, k.admin), k.opened(t, k.admin, func(c *Config) { c.Create, c.Namespace = true, "team" })
		_, err := careful.Put(t.Context(), key, secretOf("s3cr3t", ""))
		wantPermanent(t, "Put into a missing Secret", err, "does not exist", "create: true")
		if !errors.Is(err, rotator.ErrNotFound) {
			t.Errorf("Put into a missing Secret = %v; want ErrNotFound", err)
		}
		wantPermanent(t, "CheckWrite of a missing Secret", careful.CheckWrite(t.Context(), key), "does not exist", "create: true")
		_, err = making.Put(t.Context(), "elsewhere/crm#K", secretOf("s3cr3t", ""))
		wantPermanent(t, "Put into a missing namespace", err, "no such namespace")

		made, err := making.Put(t.Context(), "crm#INSTASENT_TOKEN", secretOf("v", ""))
		if err != nil || made.At.IsZero() {
			t.Errorf("Put into a missing Secret with create = %v at %v; want nil", err, made.At)
		}
		wantRead(t, k, key, "v")
		if err := careful.CheckWrite(t.Context(), "team/crm#NEW"); err != nil {
			t.Errorf("CheckWrite of a new key in a Secret = %v; want nil", err)
		}
		mustPut(t, careful, "team/crm#NEW", "w")
		wantRead(t, k, key, "v")
	})
}

// Processes that do not know of each other make and write one Secret.
func TestManyProcesses(t *testing.T) {
	each(t, func(t *testing.T, k kube) {
		k.namespace(t, "team")
		keys := []string{"team/new#A", "team/new#B", "team/new#C", "team/new#D", "team/new#E"}
		var group sync.WaitGroup
		for _, key := range keys {
			store := k.opened(t, k.admin, func(c *Config) { c.Create = true })
			group.Go(func() {
				for _, value := range []string{"1", "2", "3"} {
					if _, err := put(t, store, key, value); err != nil {
						t.Errorf("Put(%q) = %v", key, err)
					}
				}
			})
		}
		group.Wait()
		for _, key := range keys {
			wantRead(t, k, key, "3")
		}

		first := mustPut(t, k.opened(t, k.admin), keys[0], "first")
		errs := make([]error, 8)
		for i := range errs {
			store := k.opened(t, k.admin)
			group.Go(func() { _, errs[i] = store.Put(t.Context(), keys[0], secretOf(strings.Repeat("w", i+1), first.ID)) })
		}
		group.Wait()
		winners := 0
		for _, err := range errs {
			if err == nil {
				winners++
			} else if !errors.Is(err, rotator.ErrConflict) {
				t.Errorf("Put of a loser = %v; want ErrConflict", err)
			}
		}
		if winners != 1 {
			t.Errorf("%d of %d writers of one key won; want 1", winners, len(errs))
		}
	})
}

// Somebody else changes the Secret between our look and our write.
func TestChangedInBetween(t *testing.T) {
	for name, change := range map[string]struct {
		act  func(t testing.TB, k kube)
		want error
		left string
	}{
		"another key":   {func(t testing.TB, k kube) { t.Helper(); k.write(t, "team/crm#OTHER", "o") }, nil, "new"},
		"the key":       {func(t testing.TB, k kube) { t.Helper(); k.write(t, key, "theirs") }, rotator.ErrConflict, "theirs"},
		"made anew":     {func(t testing.TB, k kube) { t.Helper(); k.remove(t, key); k.make(t, key, "old", nil) }, nil, "new"},
		"removed":       {func(t testing.TB, k kube) { t.Helper(); k.remove(t, key) }, rotator.ErrConflict, ""},
		"now immutable": {func(t testing.TB, k kube) { t.Helper(); k.patch(t, key, map[string]any{"immutable": true}) }, nil, "old"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, k kube) {
				k.namespace(t, "team")
				k.make(t, key, "old", nil)
				var once sync.Once
				store := between(t, k, func(t testing.TB, k kube, w http.ResponseWriter, r *http.Request, pass http.Handler) {
					t.Helper()
					once.Do(func() { change.act(t, k) })
					pass.ServeHTTP(w, r)
				}).opened(t, k.admin)
				now, err := store.Get(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				_, err = store.Put(t.Context(), key, secretOf("new", now.ID))
				if name == "now immutable" {
					wantPermanent(t, "Put", err, "immutable")
				} else if !errors.Is(err, change.want) {
					t.Errorf("Put = %v; want %v", err, change.want)
				}
				if got, ok := k.read(t, key); got != change.left || ok != (change.left != "") {
					t.Errorf("consumers read %q, %v; want %q", got, ok, change.left)
				}
			})
		})
	}
}

func (k kube) remove(t testing.TB, key string) {
	t.Helper()
	path, _ := pathOf(t, key)
	if status, _ := k.call(t, http.MethodDelete, path, "", nil); status != http.StatusOK {
		t.Fatalf("delete: status %d", status)
	}
}

// The answer of a write is lost: it is in doubt, and the same attempt again makes no second version.
func TestLostAnswer(t *testing.T) {
	each(t, func(t *testing.T, k kube) {
		k.namespace(t, "team")
		lossy := between(t, k, func(_ testing.TB, _ kube, _ http.ResponseWriter, r *http.Request, pass http.Handler) {
			pass.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}).opened(t, k.admin, func(c *Config) { c.Create = true })
		store := k.opened(t, k.admin)
		prev := ""
		for _, value := range []string{"s3cr3t-one", "s3cr3t-two"} { // made, then applied
			_, err := lossy.Put(t.Context(), key, secretOf(value, prev))
			if err == nil || rotator.HadNoEffect(err) || strings.Contains(err.Error(), "https") || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("Put whose answer is lost = %v, no effect %v; want one in doubt, without URL", err, rotator.HadNoEffect(err))
			}
			path, _ := pathOf(t, key)
			before := child(k.must(t, http.MethodGet, path, "", nil), "metadata")["resourceVersion"]
			again, err := store.Put(t.Context(), key, secretOf(value, prev))
			after := child(k.must(t, http.MethodGet, path, "", nil), "metadata")["resourceVersion"]
			if err != nil || before != after {
				t.Errorf("Put again = %v, resourceVersion %v then %v; want one version", err, before, after)
			}
			prev = again.ID
		}
	})
}

// An admission webhook that changes what is written is not success.
func TestOtherValueStored(t *testing.T) {
	k := newStandIn(t)
	k.namespace(t, "team")
	k.make(t, key, "old", nil)
	store := between(t, k, func(_ testing.TB, _ kube, w http.ResponseWriter, r *http.Request, pass http.Handler) {
		body, _ := io.ReadAll(r.Body)
		changed := strings.ReplaceAll(string(body), encoded("s3cr3t"), encoded("mangled"))
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(changed)), int64(len(changed))
		pass.ServeHTTP(w, r)
	}).opened(t, k.admin)
	if _, err := put(t, store, key, "s3cr3t"); err == nil || rotator.HadNoEffect(err) || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("Put of what the cluster changes = %v; want an error in doubt", err)
	}
}
