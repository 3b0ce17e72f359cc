// Package admin serves what an operator and a monitoring system ask of a running
// gateway, over HTTP:
//
//	/healthz  200 while the process works: every shard can be entered. Else 503.
//	/readyz   200 while clients can be served: links listen, the broker is up. Else 503.
//	/metrics  everything that is counted, for Prometheus.
//
// It asks for no password and offers nothing that changes the gateway or profiles it.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"mqttsn-gateway/gateway"
)

const (
	maxConnections = 64
	maxHeaderBytes = 16 << 10
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 60 * time.Second
	aliveTimeout   = 2 * time.Second
	closeTimeout   = time.Second
)

// Gateway is what the server asks of the gateway.
type Gateway interface {
	// Alive reports whether every shard answers before ctx is done.
	Alive(ctx context.Context) error
	// Ready reports whether clients can be served now.
	Ready() bool
	// Stats takes a snapshot of all counters.
	Stats() gateway.Stats
}

// Server is the admin server.
type Server struct {
	listener net.Listener
	http     http.Server
	log      *slog.Logger
}

// New makes a server on listener, which it closes in the end. sources offer metrics
// besides the gateway's own.
func New(listener net.Listener, g Gateway, log *slog.Logger, sources ...Source) (*Server, error) {
	metrics, err := metricsHandler(g, log, sources)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), aliveTimeout)
		defer cancel()
		answer(w, g.Alive(ctx))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !g.Ready() {
			answer(w, errors.New("not ready: the broker cannot be reached, or the gateway is shutting down"))
			return
		}
		answer(w, nil)
	})
	return &Server{
		listener: netutil.LimitListener(listener, maxConnections),
		http: http.Server{
			Handler:           mux,
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
		log: log,
	}, nil
}

// answer says ok, or what is wrong.
func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	text := "ok\n"
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		text = err.Error() + "\n"
	}
	// A client that has gone away does not matter.
	_, _ = io.WriteString(w, text)
}

// Serve answers requests until ctx is done.
func (s *Server) Serve(ctx context.Context) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		limit, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if s.http.Shutdown(limit) != nil {
			// Requests that do not end are cut off.
			_ = s.http.Close()
		}
	})
	err := s.http.Serve(s.listener)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("admin: %w", err)
}
