package gateway

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The heap must hand out clients in the order of their deadlines, whatever was filed,
// moved and removed, and lose nobody.
func TestDeadlinesAgainstAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d deadlines
		clients := make([]client, 20)
		filed := make(map[*client]time.Duration)
		for i := range clients {
			clients[i].filed = notFiled
		}
		pick := rapid.IntRange(0, len(clients)-1)
		at := rapid.IntRange(0, 100)
		t.Repeat(map[string]func(*rapid.T){
			"file": func(t *rapid.T) {
				c := &clients[pick.Draw(t, "client")]
				due := time.Duration(at.Draw(t, "due"))
				d.file(c, due)
				if was, ok := filed[c]; !ok || due < was {
					filed[c] = due
				}
			},
			"remove": func(t *rapid.T) {
				c := &clients[pick.Draw(t, "client")]
				d.remove(c)
				delete(filed, c)
			},
			"next": func(t *rapid.T) {
				now := time.Duration(at.Draw(t, "now"))
				c := d.next(now)
				if c == nil {
					for _, due := range filed {
						if due <= now {
							t.Fatalf("nothing due at %d, want one due at %d", now, due)
						}
					}
					return
				}
				due := filed[c]
				delete(filed, c)
				for _, other := range filed {
					if other < due {
						t.Fatalf("got the client due at %d before the one due at %d", due, other)
					}
				}
			},
			"": func(t *rapid.T) {
				if len(d.heap) != len(filed) {
					t.Fatalf("%d clients filed, want %d", len(d.heap), len(filed))
				}
				for i, c := range d.heap {
					if c.filed != i || c.due != filed[c] {
						t.Fatalf("client at %d believes to be at %d, due %d, want %d", i, c.filed, c.due, filed[c])
					}
				}
			},
		})
	})
}

func BenchmarkDeadlineMovesLater(b *testing.B) {
	var d deadlines
	clients := make([]client, 100_000)
	for i := range clients {
		clients[i].filed = notFiled
		d.file(&clients[i], time.Duration(i))
	}
	for i := 0; b.Loop(); i++ {
		d.file(&clients[i%len(clients)], time.Duration(len(clients)+i))
	}
}
