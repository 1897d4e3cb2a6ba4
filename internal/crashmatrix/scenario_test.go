package crashmatrix

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

// A scenario is a way of rotating that the matrix goes through.
type scenario struct {
	name, about string
	daemon      bool           // `rotatord serve` and a person's commands; else `rotatord run`
	reason      rotator.Reason // of the person's `rotatord rotate`
	manual      bool           // a person generates and deletes the tokens
	breaks      bool           // a worker breaks on the new token
	asksRollout bool           // the deployer can tell whether a release is rolled out
	mayRefuse   bool           // calls with the old value are refused on purpose
	ends        rotator.Status
	config      string // more of the token
}

func (s scenario) admin() string {
	if s.manual {
		return "manual"
	}
	return "http"
}

// already is the deployer's command that tells whether a release is rolled out.
func (s scenario) already() string {
	if !s.asksRollout {
		return ""
	}
	return `, already: [/bin/sh, -c, 'grep -qx "$ROTATORD_RELEASE" rollouts']`
}

func scenarios() []scenario {
	return []scenario{
		{
			name: "plain", asksRollout: true, ends: rotator.Done, config: "    schedule: {max_age: 365d}\n",
			about: "a scheduled rotation by `rotatord run`, which is run again after the kill",
		},
		{
			name: "roll-back", daemon: true, reason: rotator.Manual, breaks: true, ends: rotator.RolledBack,
			about: "`rotatord serve` and `rotate`; a worker breaks on the new token and says so: the old one is put back",
		},
		{
			name: "leak", daemon: true, reason: rotator.Leak, mayRefuse: true, asksRollout: true, ends: rotator.Done,
			config: "    policy: {leak: {revoke: first}}\n",
			about:  "`rotatord serve` and `rotate --reason leak` with `revoke: first`: calls with the leaked value are refused on purpose",
		},
		{
			name: "manual", daemon: true, reason: rotator.Manual, manual: true, ends: rotator.Done,
			about: "`rotatord serve` and `rotate` where a person generates the new token, hands it over with `provide`, and deletes the old one",
		},
	}
}

// playOptions say how the process dies, if it does.
type playOptions struct {
	crashAt string         // the point where it kills itself; empty: nowhere
	list    string         // file for the names of the points that it passes; empty: none
	after   time.Duration  // its start it gets a signal; 0: never
	signal  syscall.Signal // which one: SIGKILL or SIGTERM
}

// play lets rotatord run until the rotation has ended, and does what a person
// would. died: a kill or a signal ended the process before that.
func (w *world) play(t *testing.T, o playOptions) (died bool) {
	t.Helper()
	var env []string
	if o.crashAt != "" {
		env = append(env, "ROTATORD_CRASH_AT="+o.crashAt)
	}
	if o.list != "" {
		env = append(env, "ROTATORD_CRASH_LIST="+o.list)
	}
	command := "run"
	if w.scenario.daemon {
		command = "serve"
	}
	p := w.start(t, env, command)
	if o.after > 0 {
		time.AfterFunc(o.after, func() { _ = p.cmd.Process.Signal(o.signal) }) // it may be over
	}
	done := false
	if w.scenario.daemon {
		if done = w.playPerson(t, p); done {
			p.signal(t, syscall.SIGTERM)
		}
	}
	code := p.wait(t)
	switch {
	case p.killed():
		return true
	case code == 0:
		return w.scenario.daemon && !done
	case o.signal == syscall.SIGTERM && !w.scenario.daemon && code == 1 && strings.Contains(p.text(), "interrupted"):
		return true
	}
	t.Errorf("`rotatord %s` exits with %d; want 0:\n%s", command, code, lastLines(p.text()))
	return false
}

// playPerson acts beside a daemon until the rotation has ended; false: the
// daemon ended before.
func (w *world) playPerson(t *testing.T, p *process) (done bool) {
	t.Helper()
	client := server.NewClient(w.socket())
	defer client.Close()
	until(t, "end of the rotation", func() bool {
		if p.over() {
			return true
		}
		done = w.act(t, client)
		return done
	})
	return done
}

// act does what a person does next; done: the rotation has ended. What the
// daemon can't answer any more is tried again after its next start.
func (w *world) act(t *testing.T, client *server.Client) (done bool) {
	t.Helper()
	ctx := t.Context()
	found, err := client.Tokens(ctx, token)
	if err != nil || len(found) != 1 {
		return false // not up yet, or dead
	}
	open := found[0].Open
	switch {
	case open == nil && found[0].Last != nil:
		return true
	case open == nil:
		_, err = client.Rotate(ctx, token, w.scenario.reason, "")
	case open.Hold == nil:
	case open.Hold.Kind == rotator.AskProvide:
		err = w.provide(ctx, client)
	case open.Hold.Kind == rotator.AskDelete && !w.deleted:
		w.deleted = true
		if err := w.sim.Delete(w.first.ID); err != nil {
			t.Errorf("the person can't delete the old token: %v", err)
		}
	case open.Hold.Kind == rotator.AskDelete: // it would see by itself, after a while
		_, err = client.Decide(ctx, open.ID, rotator.Resume, "deleted")
	case w.resumes:
		_, err = client.Decide(ctx, open.ID, rotator.Resume, "mended")
	default:
		t.Fatalf("the rotation is held at %s as %s: %s", open.Step, open.Hold.Kind, open.Hold.Text)
	}
	w.lastRefusal = err
	return false
}

// provide hands over the token that the person generated once.
func (w *world) provide(ctx context.Context, client *server.Client) (err error) {
	if w.provided.ID == "" {
		if w.provided, err = w.sim.Generate(w.place, "by hand, anew"); err != nil {
			return err
		}
	}
	_, err = client.Provide(ctx, token, rotator.NewSecret(w.provided.Value), w.provided.ID)
	return err
}

// lastLines is the end of a log, without the entries that say nothing.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}
