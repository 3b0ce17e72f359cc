package admin

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"mqttsn-gateway/broker/memory"
	"mqttsn-gateway/gateway"
	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/udp"
)

// realGateway is a gateway that does not run, but counts.
func realGateway(t *testing.T) *gateway.Gateway {
	t.Helper()
	link, err := udp.Listen(udp.Options{Listen: "127.0.0.1:0", MTU: 1400, Batch: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { link.Close() })
	g, err := gateway.New(gateway.DefaultOptions(), []transports.Link{link}, memory.New(), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Names and help texts follow Prometheus's conventions, and the number of series does
// not depend on clients or topics.
func TestMetricConventions(t *testing.T) {
	registry, err := newRegistry([]Source{gatewaySource(realGateway(t)), buildSource()})
	if err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !strings.HasPrefix(p.Metric, "go_") { // not ours
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	labels := []string{"direction", "type", "fate", "reason", "state", "link", "version", "revision", "goversion"}
	ours := 0
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "mqttsn_gateway_") {
			continue
		}
		ours++
		if !strings.HasSuffix(f.GetHelp(), ".") {
			t.Errorf("%s: help is not a sentence: %q", f.GetName(), f.GetHelp())
		}
		if n := len(f.GetMetric()); n == 0 || n > 100 {
			t.Errorf("%s: %d series", f.GetName(), n)
		}
		for _, l := range f.GetMetric()[0].GetLabel() {
			if !slices.Contains(labels, l.GetName()) {
				t.Errorf("%s: label %q is none of %q", f.GetName(), l.GetName(), labels)
			}
		}
	}
	if want := len(gatewaySource(nil).Families) + len(buildSource().Families); ours != want {
		t.Errorf("%d families have samples, want %d", ours, want)
	}
}

func TestMetricsPage(t *testing.T) {
	f := &fake{stats: gateway.Stats{
		Received:        map[string]uint64{"CONNECT": 3},
		Sent:            map[string]uint64{"CONNACK": 2},
		Dropped:         map[string]uint64{"malformed": 4},
		Messages:        gateway.Messages{Received: 12, Delivered: 13, Returned: 14, Dropped: 15},
		Retransmissions: 5,
		Sessions:        map[string]int{"asleep": 6},
		QueuedMessages:  7,
		QueuedBytes:     8,
		Unanswered:      9,
		SocketDrops:     map[string]uint64{"udp 127.0.0.1:1883": 10},
	}}
	more := Source{
		Families: []Family{{"mqttsn_gateway_test_total", "A test.", Counter, []string{"kind"}}},
		Collect:  func(emit Emit) { emit("mqttsn_gateway_test_total", 11, "x") },
	}
	status, page := get(t, "GET", start(t, f, more)+"/metrics")
	if status != 200 {
		t.Fatalf("got %d %s", status, page)
	}
	for _, line := range []string{
		`mqttsn_gateway_packets_total{direction="received",type="CONNECT"} 3`,
		`mqttsn_gateway_packets_total{direction="sent",type="CONNACK"} 2`,
		`mqttsn_gateway_drops_total{reason="malformed"} 4`,
		`mqttsn_gateway_messages_total{fate="received"} 12`,
		`mqttsn_gateway_messages_total{fate="delivered"} 13`,
		`mqttsn_gateway_messages_total{fate="returned"} 14`,
		`mqttsn_gateway_messages_total{fate="dropped"} 15`,
		`mqttsn_gateway_retransmissions_total 5`,
		`mqttsn_gateway_sessions{state="asleep"} 6`,
		`mqttsn_gateway_queue_messages 7`,
		`mqttsn_gateway_queue_bytes 8`,
		`mqttsn_gateway_broker_requests_unanswered 9`,
		`mqttsn_gateway_socket_drops_total{link="udp 127.0.0.1:1883"} 10`,
		`mqttsn_gateway_ready 1`,
		`mqttsn_gateway_test_total{kind="x"} 11`,
		`# TYPE mqttsn_gateway_sessions gauge`,
		`# TYPE go_goroutines gauge`,
	} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("the page lacks %s", line)
		}
	}
	if !strings.Contains(page, "mqttsn_gateway_build_info{goversion=\"go") {
		t.Error("the page lacks the build")
	}
}

// A source that reports what it did not describe fails the scrape instead of the process.
func TestUndescribedSample(t *testing.T) {
	for name, emit := range map[string]func(Emit){
		"unknown": func(e Emit) { e("mqttsn_gateway_other", 1) },
		"labels":  func(e Emit) { e("mqttsn_gateway_test", 1, "too", "many") },
	} {
		t.Run(name, func(t *testing.T) {
			source := Source{Families: []Family{{"mqttsn_gateway_test", "A test.", Gauge, nil}}, Collect: emit}
			if status, page := get(t, "GET", start(t, &fake{}, source)+"/metrics"); status != 500 {
				t.Errorf("got %d %s", status, page)
			}
		})
	}
}

func TestTwoSourcesOfOneMetric(t *testing.T) {
	source := Source{Families: []Family{{"mqttsn_gateway_ready", "Another.", Gauge, nil}}}
	if _, err := newRegistry([]Source{gatewaySource(&fake{}), source}); err == nil {
		t.Error("two sources of one metric are accepted")
	}
}
