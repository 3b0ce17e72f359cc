package serial

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/transports"
)

// saturate keeps the queue of a link from running empty for some time.
func saturate(l *Link, d time.Duration, size int) {
	data := publish(1, size)
	batch := []transports.Datagram{{Addr: peer, Data: data}}
	for end := time.Now().Add(d); time.Now().Before(end); {
		if _, err := l.Send(batch); err != nil {
			<-time.After(10 * time.Millisecond)
		}
	}
}

// TestPace: the line is never idle while packets wait, and the driver never holds more
// than some 80 ms or two packets.
func TestPace(t *testing.T) {
	for _, baud := range []int{1200, 9600, 57600, 115200, 921600} {
		t.Run(fmt.Sprint(baud), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newFakePort(baud)
				o := DefaultOptions()
				o.Baud = baud
				const size = 60
				l, _ := openFake(t, o, p)
				saturate(l, time.Minute, size)
				ratio, most := p.use()
				allowed := 2*ahead + size*p.octet
				t.Logf("used %.4f, the driver held %v at most", ratio, most)
				if ratio < 0.999 || most > allowed {
					t.Errorf("used %.4f, the driver held %v at most, %v allowed", ratio, most, allowed)
				}
			})
		})
	}
}

// TestPaceOfASlowLine: a line that is slower than it should be fills the driver no more.
func TestPaceOfASlowLine(t *testing.T) {
	p := newPace(115200)
	now := time.Unix(1, 0)
	p.wrote(now, now, 100, 2000)
	if got, want := p.wait(now), 2000*p.octet-ahead; got != want {
		t.Errorf("waits %v, want %v", got, want)
	}
	now = now.Add(time.Hour)
	p.wrote(now, now, 1000, 0)
	if got, want := p.wait(now), 1000*p.octet-ahead; got != want {
		t.Errorf("waits %v, want %v", got, want)
	}
}

// TestBrokenDevice: one that opens and fails at once is not tried without pause.
func TestBrokenDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDevice{port: newFakePort(9600)}
		close(d.port.gone)
		l, _ := openDevice(t, DefaultOptions(), d)
		<-time.After(time.Minute)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if d.opened < 10 || d.opened > 20 {
			t.Errorf("opened %d times in a minute", d.opened)
		}
	})
}

// BenchmarkLine measures, in real time, how much of a line's time a saturated link uses.
func BenchmarkLine(b *testing.B) {
	for _, baud := range []int{9600, 115200, 921600} {
		b.Run(fmt.Sprint(baud), func(b *testing.B) {
			p := newFakePort(baud)
			o := DefaultOptions()
			o.Baud = baud
			l, _ := openFake(b, o, p)
			for b.Loop() {
				saturate(l, time.Second, 60)
			}
			ratio, most := p.use()
			b.ReportMetric(ratio, "of-line")
			b.ReportMetric(float64(most.Milliseconds()), "ms-in-driver")
		})
	}
}
