//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// types runs a program on a terminal of its own. Once the program has switched
// the echo off, the file's text is typed; all that the terminal shows is the
// standard output for the lines after.
func types(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "types FILE PROGRAM ARG…")
	master, slave, err := openTerminal()
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[1], args[2:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	for _, name := range jobVariables() {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(cmd.Start())
	ts.Check(slave.Close())
	var shown bytes.Buffer
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(&shown, master) }) // ends with EIO when nobody has the terminal open
	typed := typeHidden(ctx, master, ts.ReadFile(args[0])+"\n")
	ended := cmd.Wait()
	reading.Wait()
	ts.Check(master.Close())
	_, err = fmt.Fprint(ts.Stdout(), shown.String())
	if err = errors.Join(err, typed, ended); err != nil {
		ts.Fatalf("%v: %v\n%s", args[1:], err, shown.String())
	}
}

func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	return master, slave, nil
}

func typeHidden(ctx context.Context, master *os.File, text string) error {
	for {
		settings, err := unix.IoctlGetTermios(int(master.Fd()), unix.TCGETS)
		if err != nil {
			return err
		}
		if settings.Lflag&unix.ECHO == 0 {
			_, err = master.WriteString(text)
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("the echo stays on")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
