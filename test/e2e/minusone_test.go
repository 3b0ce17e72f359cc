package e2e

import (
	"fmt"
	"testing"
)

// Group Q of the checklist: QoS -1.
var minusOne = []table{minusOnes}

func TestQoSMinusOne(t *testing.T) { run(t, minusOne...) }

var minusOnes = table{
	"Q01": both(func(r *rig) { // no connection, no answer [SN-6.8]
		watcher := r.watch("ab")
		d := r.device("stranger")
		d.tell("09 0C 62 61 62 00 00 68 69")
		watcher.expect("ab", "hi", 0)
		d.silent(moment)
	}),
	"Q02": both(func(r *rig) {
		watcher := r.watch("pre/#")
		d := r.device("stranger")
		d.tell("09 0C 61 00 0A 00 00 'hi'")
		watcher.expect("pre/ten", "hi", 0)
		d.silent(moment)
	}),
	"Q03": both(notPublished("09 0C 61 00 63 00 00 'hi'", "09 0C 61 00 0C 00 00 'hi'")), // unknown; another's
	"Q04": both(notPublished("09 0C 60 00 0A 00 00 'hi'")),                              // a normal id
	"Q09": both(notPublished("09 0C 62 'a#' 00 00 'hi'", "09 0C 62 C3 28 00 00 'hi'")),
	"Q08": both(notPublished("09 0C 62 'xy' 00 00 'hi'"), key("gateway.qos_minus_one", "false")),
	"Q05": both(func(r *rig) { // Retain counts (A52)
		watcher := r.watch("ab")
		r.device("stranger").tell("09 0C 72 'ab' 00 00 'hi'")
		watcher.expect("ab", "hi", 0)
		late := dialMQTT(r.T, r.gateway.mqtt, "late", true)
		late.subscribe("ab", 0)
		if m := late.expect("ab", "hi", 0); !m.retain {
			r.Error("the message is not retained")
		}
	}),
	"Q06": both(func(r *rig) { // a connected client may do it too (A9)
		watcher := r.watch("ab")
		d := r.client(cleanSession)
		d.tell("09 0C 62 'ab' 00 00 'hi'")
		watcher.expect("ab", "hi", 0)
		d.alive()
	}),
	"Q07": both(func(r *rig) { // and a sleeper, who sleeps on (A14)
		watcher := r.watch("ab")
		d := asleep(r, cleanSession)
		d.tell("09 0C 62 'ab' 00 00 'hi'")
		watcher.expect("ab", "hi", 0)
		r.queue(1)
		d.silent(moment)
		d.tell(d.wakeFrame())
		d.drain(0, 1)
	}),
	"Q10": both(func(r *rig) { // a flood does not reach the others
		watcher := r.watch("s/#")
		d := subscribed(r, cleanSession, 1)
		strangers := []*device{r.device("stranger"), r.device("stranger"), r.device("stranger")}
		for i := range 50 {
			for n := range 300 {
				strangers[n%3].tell("09 0C 62 'ab' 00 00 'hi'")
			}
			d.tell(fmt.Sprintf("__ 0C 20 {s/temp} 00 07 '%d'", i))
			d.expectAll("07 0D {s/temp} 00 07 00", fmt.Sprintf("__ 0C ?? {s/temp} {%d} '%d'", i, i))
			d.tell(fmt.Sprintf("07 0D {s/temp} {%d} 00", i))
			watcher.expect("s/temp", fmt.Sprint(i), 1)
		}
		for _, stranger := range strangers {
			stranger.silent(moment)
		}
	}),
	"Q11": both(func(r *rig) { // DUP and MsgId mean nothing (A52)
		watcher := r.watch("ab")
		d := r.device("stranger")
		d.tell("09 0C E2 'ab' 00 05 'hi'")
		watcher.expect("ab", "hi", 0)
		watcher.nothing(moment)
		d.silent(moment)
	}),
}

// notPublished shows that QoS -1 messages lead to nothing: no answer, no message, and no
// harm to the connection that carries such messages.
func notPublished(datagrams ...string) func(*rig) {
	return func(r *rig) {
		watcher := r.watch("#")
		d, connected := r.device("stranger"), r.client(cleanSession)
		for _, datagram := range datagrams {
			d.tell(datagram)
		}
		d.silent(moment)
		watcher.nothing(moment)
		connected.alive()
		if r.plan.keys["gateway.qos_minus_one"] != "false" {
			d.tell("09 0C 62 'ab' 00 00 'hi'")
			watcher.expect("ab", "hi", 0)
		}
	}
}
