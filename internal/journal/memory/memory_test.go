package memory_test

import (
	"testing"

	"github.com/rotatord/rotatord/internal/journal/journaltest"
	"github.com/rotatord/rotatord/internal/journal/memory"
	"github.com/rotatord/rotatord/rotator"
)

func TestMemory(t *testing.T) {
	journaltest.Run(t, func(*testing.T) journaltest.Subject {
		last := memory.New()
		return journaltest.Subject{
			Journal: last,
			Reopen: func() rotator.Journal {
				last = last.Reopen()
				return last
			},
			Close: func() error { return nil },
		}
	})
}
