package main

import (
	"io"
	"log/slog"

	"github.com/lmittmann/tint"

	"github.com/rotatord/rotatord/internal/config"
)

// newLogger logs to w: JSON where the configuration says so or nobody watches,
// else text, coloured.
func newLogger(w io.Writer, settings config.Log, level slog.Leveler) *slog.Logger {
	if _, _, watched := terminal(w); settings.JSON || !watched {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: "15:04:05"}))
}

// quietLogger is for commands that a person waits for: the view and the last
// word show how a rotation goes, so that the log tells only what goes wrong
// beside it, and nothing where it would be written into the view.
func (a *app) quietLogger(settings config.Log) *slog.Logger {
	if _, _, watched := terminal(a.errOut); watched {
		return slog.New(slog.DiscardHandler)
	}
	return newLogger(a.errOut, settings, max(settings.Level, slog.LevelError))
}
