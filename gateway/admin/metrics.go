package admin

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// maxScrapes bounds the scrapes at a time: each visits every session.
	maxScrapes    = 2
	scrapeTimeout = 10 * time.Second
)

// Kind is how a metric behaves.
type Kind byte

// The kinds of metrics.
const (
	Counter Kind = iota // only grows while the process lives
	Gauge               // goes up and down
)

// Family is one metric: its name and help, and which labels its samples have. Labels
// have few values that are known beforehand: never a client, a topic or an address of a
// client.
type Family struct {
	Name   string
	Help   string
	Kind   Kind
	Labels []string
}

// Emit reports one sample of a family, with the values of its labels in order.
type Emit func(family string, value float64, labels ...string)

// Source is a part of the gateway that offers metrics.
type Source struct {
	Families []Family
	// Collect takes one snapshot and reports all samples. It may be called from several
	// goroutines at a time.
	Collect func(Emit)
}

// metricsHandler serves the gateway's metrics, those of sources, of the Go runtime and
// of the process from a registry of its own.
func metricsHandler(g Gateway, log *slog.Logger, sources []Source) (http.Handler, error) {
	registry, err := newRegistry(append([]Source{gatewaySource(g), buildSource()}, sources...))
	if err != nil {
		return nil, err
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTimeout,
	}), nil
}

func newRegistry(sources []Source) (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	all := []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
	for _, s := range sources {
		all = append(all, newCollector(s))
	}
	for _, c := range all {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("admin: metrics: %w", err)
		}
	}
	return registry, nil
}

// collector makes a Source known to Prometheus.
type collector struct {
	source Source
	kinds  map[string]prometheus.ValueType
	descs  map[string]*prometheus.Desc
}

func newCollector(s Source) *collector {
	c := &collector{s, make(map[string]prometheus.ValueType), make(map[string]*prometheus.Desc)}
	for _, f := range s.Families {
		c.descs[f.Name] = prometheus.NewDesc(f.Name, f.Help, f.Labels, nil)
		c.kinds[f.Name] = prometheus.CounterValue
		if f.Kind == Gauge {
			c.kinds[f.Name] = prometheus.GaugeValue
		}
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, name := range slices.Sorted(maps.Keys(c.descs)) {
		to <- c.descs[name]
	}
}

// Collect implements prometheus.Collector. A sample of a family that was not described,
// or with other labels, fails the scrape.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	c.source.Collect(func(family string, value float64, labels ...string) {
		desc, ok := c.descs[family]
		if !ok {
			desc = prometheus.NewInvalidDesc(fmt.Errorf("admin: metric %q is not described", family))
			to <- prometheus.NewInvalidMetric(desc, fmt.Errorf("admin: metric %q is not described", family))
			return
		}
		m, err := prometheus.NewConstMetric(desc, c.kinds[family], value, labels...)
		if err != nil {
			m = prometheus.NewInvalidMetric(desc, err)
		}
		to <- m
	})
}
