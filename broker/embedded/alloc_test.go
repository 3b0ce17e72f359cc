package embedded

import (
	"fmt"
	"testing"

	"mqttsn-gateway/broker"
)

// A message with QoS 0 is passed on without an allocation for each receiver.
func TestFanOutDoesNotAllocate(t *testing.T) {
	b := serve(t)
	for i := range 20 {
		swallow(t, b, versions[i%len(versions)], fmt.Sprint("sub", i), "some/+/topic")
	}
	from := b.Open("from", new(sink))
	_ = from.Do(&broker.Request{Op: broker.Connect})
	r := &broker.Request{Op: broker.Publish, Topic: "some/long/topic", Payload: make([]byte, 64)}
	// Nothing is flushed, so that the outputs keep their buffers. The race detector makes
	// pools lose what they hold: some few are allowed for.
	if n := testing.AllocsPerRun(500, func() { _ = from.Do(r) }); n > 5 {
		t.Errorf("%v allocations for 20 receivers", n)
	}
	b.Flush()
}
