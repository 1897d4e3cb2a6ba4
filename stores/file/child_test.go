//go:build unix

package filestore

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/rotatord/rotatord/rotator"
)

// child is what the test binary does as a process of its own.
func child(dir string) int {
	ctx := context.Background()
	store, err := New(ctx, Config{Dir: dir})
	if err != nil {
		return 1
	}
	task := os.Getenv("TASK")
	if number, ok := strings.CutPrefix(task, "variables of "); ok {
		for i := range 10 {
			key := fmt.Sprintf("crm.env#V_%s_%d", number, i)
			if i%2 == 0 {
				key = "elsewhere/" + key
			}
			if _, err := store.Put(ctx, key, rotator.Write{Value: rotator.NewSecret("v")}); err != nil {
				_, _ = fmt.Println(err) //nolint:forbidigo // the parent reads it
			}
		}
		return 0
	}
	value := "new"
	if task == "big" { // a file may have 4 KiB from here on, and the value has more
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 4096, Max: 4096}); err != nil {
			return 1
		}
		value = strings.Repeat("v", 8192)
	}
	err = store.(*Store).CheckWrite(ctx, "crm.token")
	_, _ = fmt.Printf("check: %v; permanent %v\n", err, rotator.IsPermanent(err)) //nolint:forbidigo // the parent reads it
	w := rotator.Write{Value: rotator.NewSecret(value), Prev: versionID("old")}
	_, err = store.Put(ctx, "crm.token", w)
	_, _ = fmt.Printf("put: %v; permanent %v, no effect %v\n", err, rotator.IsPermanent(err), rotator.HadNoEffect(err)) //nolint:forbidigo // the parent reads it
	return 0
}
