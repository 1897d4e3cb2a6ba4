package journal

import (
	"context"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// maxBatch bounds a transaction, so that a leak never waits for thousands.
const maxBatch = 128

func newRequest(ctx context.Context) *request {
	gaveUp := func() error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return nil
	}
	return &request{gaveUp: gaveUp, sealed: map[rotator.Slot][]byte{}, done: make(chan struct{})}
}

// urgent requests are written before all others that wait.
func (r *request) urgent() bool { return r.a.Summary != nil && r.a.Summary.Reason == rotator.Leak }

// submit has a request written and returns what came of it.
func (j *Journal) submit(ctx context.Context, r *request) error {
	j.queueMu.Lock()
	j.queue = append(j.queue, r)
	first := !j.writing
	j.writing = true
	j.queueMu.Unlock()
	if first {
		// One who gives up must not stop the others.
		go j.writeQueue(context.WithoutCancel(ctx))
	}
	<-r.done
	return r.err
}

// writeQueue writes until nobody waits. Nobody who waits writes for others: a
// leak would stand behind all who came after it.
func (j *Journal) writeQueue(ctx context.Context) {
	for {
		j.writeMu.Lock()
		batch := j.nextBatch()
		if len(batch) > 0 {
			j.writeBatch(ctx, batch)
		}
		j.writeMu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, r := range batch {
			close(r.done)
		}
	}
}

// nextBatch takes the first requests out of the queue: those that are urgent,
// then those that wait longest. None: writeQueue must end.
func (j *Journal) nextBatch() []*request {
	j.queueMu.Lock()
	defer j.queueMu.Unlock()
	if len(j.queue) <= maxBatch {
		batch := j.queue
		j.queue, j.writing = nil, len(batch) > 0
		return batch
	}
	batch := make([]*request, 0, maxBatch)
	for _, urgent := range []bool{true, false} {
		kept := j.queue[:0]
		for _, r := range j.queue {
			if r.urgent() == urgent && len(batch) < maxBatch {
				batch = append(batch, r)
			} else {
				kept = append(kept, r)
			}
		}
		clear(j.queue[len(kept):])
		j.queue = kept
	}
	return batch
}

// forgetPause is between two cleanings of the database's own log. Each waits for
// the disk twice more than a commit does, while nobody can write.
const forgetPause = time.Second

// forgetWipedSoon takes wiped values out of the database's log: at once, or
// when forgetPause has passed since it last worked. writeMu is held.
func (j *Journal) forgetWipedSoon(ctx context.Context) {
	if !j.residue || j.forgetTimer != nil {
		return
	}
	forget := func() {
		if j.forgetWiped(ctx); !j.residue {
			j.forgotAt = time.Now()
		}
	}
	wait := time.Until(j.forgotAt.Add(forgetPause))
	if wait <= 0 {
		forget()
		return
	}
	j.forgetTimer = time.AfterFunc(wait, func() {
		j.writeMu.Lock()
		defer j.writeMu.Unlock()
		j.forgetTimer = nil
		if !j.closed {
			forget()
		}
	})
}

// forgetWiped takes wiped values out of the database's log, where their
// ciphertext would stay until it is written over. Where a reader is in the way
// it is tried again after the next write and at Close.
func (j *Journal) forgetWiped(ctx context.Context) {
	var kept, pages, moved int
	_, err := j.write.ExecContext(ctx, j.q.forgetBegin)
	if err == nil {
		err = j.write.QueryRowContext(ctx, j.q.forget).Scan(&kept, &pages, &moved)
	}
	_, errEnd := j.write.ExecContext(ctx, j.q.forgetEnd)
	j.residue = err != nil || errEnd != nil || kept != 0
}
