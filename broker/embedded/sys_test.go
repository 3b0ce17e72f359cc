package embedded

import (
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// told is how many topics' values are remembered.
func (y *sys) told() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.last)
}

// values are the present values of all topics.
func (y *sys) values() map[string]string {
	y.mu.Lock()
	defer y.mu.Unlock()
	all := make(map[string]string)
	y.each(func(topic string, value func() string) { all[topic] = value() })
	return all
}

// Topics of Mosquitto 2.1 that the one of this machine may be too old for.
var newerThanMosquitto20 = []string{
	"$SYS/broker/connections/socket/count",
	"$SYS/broker/packet/out/bytes",
	"$SYS/broker/packet/out/count",
}

// Mosquitto's topics are there, all of them, and no other; their values look the same.
func TestSysAsMosquitto(t *testing.T) {
	theirs := mosquittoSys(t)
	ours := serve(t).sys.values()
	for topic, value := range theirs {
		got, ok := ours[topic]
		if !ok {
			t.Errorf("%s is not there", topic)
			continue
		}
		if form(got) != form(value) {
			t.Errorf("%s: %q does not look like %q", topic, got, value)
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(ours)) {
		if _, ok := theirs[topic]; !ok && !slices.Contains(newerThanMosquitto20, topic) {
			t.Errorf("%s is not Mosquitto's", topic)
		}
	}
	if len(theirs) < 50 {
		t.Errorf("Mosquitto has told %d topics only", len(theirs))
	}
}

var (
	digits  = regexp.MustCompile(`\d+`)
	version = regexp.MustCompile(`^\S+ version \S+$`)
	decimal = regexp.MustCompile(`^\d+\.\d\d$`)
)

// form is what values of one kind have in common.
func form(value string) string {
	switch {
	case version.MatchString(value):
		return "version"
	case decimal.MatchString(value):
		return "two decimals"
	}
	return digits.ReplaceAllString(value, "n")
}

// mosquittoSys runs the broker of this machine, and takes what it tells.
func mosquittoSys(t *testing.T) map[string]string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(file, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\nsys_interval 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto" // not in everybody's path
	}
	server := exec.Command(program, "-c", file)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	until(t, "mosquitto listens", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	values := make(map[string]string)
	// The maximum of clients is told late, in an interval after the first.
	for end := time.Now().Add(2 * patience); values["$SYS/broker/clients/maximum"] == ""; {
		if time.Now().After(end) {
			t.Fatalf("mosquitto tells %q only", values)
		}
		out, _ := exec.Command("mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-W", "1", "-F", "%t|%p", "-t", "$SYS/#").Output()
		for line := range strings.Lines(string(out)) {
			topic, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "|")
			values[topic] = value
		}
	}
	return values
}

// The averages are Mosquitto's: with 40 packets a minute it told 1.95, 0.40 and 0.13
// after the first three seconds.
func TestSysLoad(t *testing.T) {
	var c counters
	var l loads
	value := func() string { return l.value(0, 0) + " " + l.value(0, 1) + " " + l.value(0, 2) }
	c.packetsIn.Store(2)
	l.sample(&c, 3*time.Second)
	if got := value(); got != "1.95 0.40 0.13" {
		t.Errorf("after 3 s: %s", got)
	}
	c.packetsIn.Add(22)
	l.sample(&c, 6*time.Second)
	if got := value(); got != "23.31 4.77 1.60" {
		t.Errorf("after 6 s: %s", got)
	}
	// What was is forgotten in time, however often one looks.
	for s := 7; s <= 66; s++ {
		l.sample(&c, time.Duration(s)*time.Second)
	}
	if got := value(); got != "8.58 3.91 1.49" {
		t.Errorf("after a minute of silence: %s", got)
	}
	l.sample(&c, 66*time.Second)
	l.sample(&c, 10*time.Hour)
	if got := value(); got != "0.00 0.00 0.00" {
		t.Errorf("after ten hours of silence: %s", got)
	}
}

var disconnect = broker.Request{Op: broker.Disconnect}

// sysOf reads what is published below $SYS until nothing more comes.
func sysOf(d *station) map[string]string {
	synctest.Wait()
	all := make(map[string]string)
	for _, ev := range d.take() {
		all[strings.TrimPrefix(ev.Message.Topic, sysRoot)] = string(ev.Message.Payload)
	}
	return all
}

// A new subscriber gets the present values at once; then everybody gets what has changed,
// each interval, and nothing else.
func TestSysTellsChanges(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		first := connected(t, b, "first", true)
		first.subscribe("$SYS/broker/clients/+", 0)
		if got := sysOf(first); len(got) != 7 || got["clients/connected"] != "1" {
			t.Errorf("at once: %v", got)
		}
		time.Sleep(15 * time.Second)
		if got := sysOf(first); len(got) != 0 {
			t.Errorf("nothing has changed, but it was told %v", got)
		}
		other := connected(t, b, "other", true)
		second := connected(t, b, "second", true)
		second.subscribe("$SYS/broker/clients/connected", 0)
		if got := sysOf(second); len(got) != 1 || got["clients/connected"] != "3" {
			t.Errorf("at once: %v", got)
		}
		// Now they know different values, and the one that only the first knows is
		// true again.
		other.do(disconnect)
		second.do(disconnect)
		third := connected(t, b, "third", true)
		third.subscribe("$SYS/broker/clients/connected", 0)
		fourth := connected(t, b, "fourth", true)
		third.take()
		first.do(disconnect)
		fourth.do(disconnect)
		time.Sleep(10 * time.Second)
		if got := sysOf(third); got["clients/connected"] != "1" {
			t.Errorf("it was told %v, but only one client is connected", got)
		}
	})
}

// Devices are clients, and their messages messages; packets and octets are those of MQTT
// connections.
func TestSysCountsDevices(t *testing.T) {
	inBubble(t, func(t *testing.T, b *Broker) {
		d := connected(t, b, "d", false)
		d.subscribe("t", 1)
		d.do(broker.Request{Op: broker.Publish, Topic: "t", Payload: []byte("hello"), QoS: 1})
		want := map[string]string{
			"clients/connected": "1", "clients/active": "1", "clients/total": "1", "clients/maximum": "1",
			"publish/messages/received": "1", "publish/messages/sent": "1",
			"publish/bytes/received": "5", "publish/bytes/sent": "5",
			"store/messages/count": "1", "messages/stored": "1", "store/messages/bytes": "6",
			"subscriptions/count": "1", "shared_subscriptions/count": "0",
			"messages/received": "0", "bytes/received": "0", "connections/socket/count": "0",
		}
		check := func() {
			t.Helper()
			got := b.sys.values()
			for topic, value := range want {
				if got[sysRoot+topic] != value {
					t.Errorf("%s is %q, want %q", topic, got[sysRoot+topic], value)
				}
			}
		}
		check()
		d.do(disconnect)
		p := piped(t, b, mqtt.V5, "p")
		p.subscribe(0, "$share/g/x", "y")
		synctest.Wait()
		maps.Copy(want, map[string]string{
			"clients/connected": "1", "clients/total": "2", "clients/disconnected": "1", "clients/inactive": "1",
			"subscriptions/count": "2", "shared_subscriptions/count": "1",
			"messages/received": "2", "messages/sent": "2", "connections/socket/count": "1",
		})
		delete(want, "bytes/received")
		check()
		time.Sleep(8 * 24 * time.Hour)
		synctest.Wait()
		maps.Copy(want, map[string]string{
			"clients/expired": "1", "clients/total": "1", "clients/disconnected": "0",
			"subscriptions/count": "1", "clients/inactive": "0", "messages/stored": "0", "store/messages/count": "0", "store/messages/bytes": "0",
		})
		check()
	})
}
