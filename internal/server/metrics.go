package server

import (
	"context"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/rotatord/rotatord/rotator"
)

const scrapeTimeout = 10 * time.Second

// Metrics are what /metrics shows: the state of tokens and rotations as the
// journal has it when asked, and how the last reload went.
type Metrics struct {
	*prometheus.Registry
	reloadOK atomic.Bool
	reloadAt atomic.Int64 // Unix seconds
}

// NewMetrics makes the metrics of an engine.
func NewMetrics(engine EngineReader, version string, log *slog.Logger) *Metrics {
	m := &Metrics{Registry: prometheus.NewRegistry()}
	m.Reloaded(time.Now(), true)
	gauge := func(name, help string, value func() float64) {
		m.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("rotatord_config_last_reload_successful", "Whether the last load of the configuration worked.", func() float64 {
		if m.reloadOK.Load() {
			return 1
		}
		return 0
	})
	gauge("rotatord_config_last_reload_success_timestamp_seconds", "When the configuration in use was loaded.",
		func() float64 { return float64(m.reloadAt.Load()) })
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "rotatord_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newTokenCollector(engine, log))
	return m
}

// Reloaded records how a load of the configuration went.
func (m *Metrics) Reloaded(at time.Time, ok bool) {
	m.reloadOK.Store(ok)
	if ok {
		m.reloadAt.Store(at.Unix())
	}
}

// tokenCollector asks the engine at each scrape: nothing is counted twice, and
// nothing is lost over a restart.
type tokenCollector struct {
	engine EngineReader
	log    *slog.Logger

	up, tokens, open, due, issued, failures, last *prometheus.Desc
}

func newTokenCollector(engine EngineReader, log *slog.Logger) *tokenCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("rotatord_"+name, help, labels, nil)
	}
	return &tokenCollector{
		engine: engine, log: log,
		up:       desc("journal_up", "Whether the journal could be read for this scrape."),
		tokens:   desc("tokens", "Managed tokens."),
		open:     desc("rotations_open", "Open rotations by status; held and waiting ones may need a person.", "status"),
		due:      desc("token_due_timestamp_seconds", "When the token's rotation is due next.", "token"),
		issued:   desc("token_issued_timestamp_seconds", "When the token's current credential was issued.", "token"),
		failures: desc("token_failures", "Scheduled rotations in a row that failed.", "token"),
		last:     desc("token_last_rotation_timestamp_seconds", "When the token's last rotation ended, by how it ended.", "token", "status"),
	}
}

// Describe implements prometheus.Collector.
func (c *tokenCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.tokens, c.open, c.due, c.issued, c.failures, c.last} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *tokenCollector) Collect(out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	tokens, err := c.engine.Status(ctx)
	if err != nil {
		c.log.Warn("metrics can't be read", "err", err)
		send(c.up, 0)
		return
	}
	send(c.up, 1)
	send(c.tokens, float64(len(tokens)))
	open := map[rotator.Status]int{rotator.Queued: 0, rotator.Running: 0, rotator.Waiting: 0, rotator.Held: 0}
	for _, t := range tokens {
		if t.Open != nil {
			open[t.Open.Status]++
		}
		if !t.Due.At.IsZero() {
			send(c.due, float64(t.Due.At.Unix()), t.Name)
		}
		if !t.Current.IssuedAt.IsZero() {
			send(c.issued, float64(t.Current.IssuedAt.Unix()), t.Name)
		}
		if t.Last != nil && !t.Last.ClosedAt.IsZero() {
			send(c.last, float64(t.Last.ClosedAt.Unix()), t.Name, string(t.Last.Status))
		}
		send(c.failures, float64(t.Failures), t.Name)
	}
	for status, count := range open {
		send(c.open, float64(count), string(status))
	}
}
