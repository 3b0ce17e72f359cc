package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// reloads is how often TestReloadUnderLoad has the files read anew.
func reloads(t *testing.T) int {
	text := os.Getenv("E2E_RELOADS")
	if text == "" {
		return 30
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("E2E_RELOADS: %q is no number of reloads", text)
	}
	return n
}

// Passwords, rights, certificates and keys are written and read anew, again and again, while
// clients of all kinds and devices publish and get what they publish: nobody is disconnected,
// no message is lost or comes twice, and what the files say holds at once.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	f := newReloading(t)
	var over atomic.Bool
	var messages atomic.Int64
	var all sync.WaitGroup
	load := func(name string, exchange func(payload string) error) {
		all.Go(func() {
			pace := time.NewTicker(reloadingPace)
			defer pace.Stop()
			for n := 0; !over.Load(); n++ {
				<-pace.C
				if err := exchange(fmt.Sprint(name, " ", n)); err != nil {
					t.Errorf("%s, message %d: %v", name, n, err)
					return
				}
				messages.Add(1)
			}
		})
	}
	defer func() { over.Store(true); all.Wait() }() // before connections are closed
	const each = 2
	clients, devices := 0, 0
	for name, dial := range map[string]func() net.Conn{
		"alice/mqtt": f.dialTCP, "alice/tls": f.dialTLS, "pump/tls": f.dialCertified,
		"alice/ws": func() net.Conn { return f.dialWeb("ws://" + f.ws) }, "alice/wss": func() net.Conn { return f.dialWeb("wss://" + f.wss) },
	} {
		user, _, _ := strings.Cut(name, "/")
		for i := range each {
			name := fmt.Sprint(name, "-", i)
			c, code := login(t, dial(), name, user, "pw-"+user)
			if code != 0 {
				t.Fatalf("%s is refused: %02X", name, code)
			}
			load(name, c.echoes(t, name))
			clients++
		}
	}
	for i := range each {
		load(fmt.Sprint("udp ", i), deviceEchoes(t, dialUDP(t, f.udp), fmt.Sprint("udp-", i), fmt.Sprint("field/", i)))
		identity := f.identities[i]
		load(identity, deviceEchoes(t, dialOpenSSL(t, f.tunnels, withKey(identity, pskOf(identity))...), identity, identity+"/a"))
		devices += 2
	}

	n, start := reloads(t), time.Now()
	for i := range n {
		if t.Failed() {
			return
		}
		before := f.metric(t, "reloads_total")
		f.rewrite(i)
		f.signal(syscall.SIGHUP)
		eventually(t, "all parts have read their files", func() bool { return f.metric(t, "reloads_total") >= before+reloadingParts })
		f.holds(i)
	}
	took := time.Since(start)
	if _, code := login(t, f.dialTCP(), "guest", "guest", "pw-"+guestName(n)); code != 0x86 { // it waits a second
		t.Errorf("the old password: %02X", code)
	}
	over.Store(true)
	all.Wait()

	// One that is told by a look at the files may fail, if they are half written.
	if ok := f.labelled(t, "reloads_total", `"ok"`); int(ok) < n*reloadingParts {
		t.Errorf("parts have read their files %v times, want %d; else that failed", ok, n*reloadingParts)
	}
	ended := f.metric(t, "embedded_disconnects_total") - f.labelled(t, "embedded_disconnects_total", `"disconnect"`)
	if closed := f.linkMetric(t, "dtls_connections_closed_total", ""); ended+closed != 0 {
		t.Errorf("%v connections of MQTT clients and %v of devices have ended", ended, closed)
	}
	eventually(t, "all MQTT clients are there, and only they", func() bool { return int(f.metric(t, "embedded_connections")) == clients })
	if !t.Failed() {
		t.Logf("%d reloads in %v; %d MQTT clients and %d devices, %d messages; no connection dropped, no message lost",
			n, took.Round(time.Millisecond), clients, devices, messages.Load())
	}
}

// reloadingPace is the time between two messages of a client: the reloads need some of the
// machine too.
const reloadingPace = 2 * time.Millisecond

// reloadingParts are the parts of the gateway that have files here: auth, mqtt and dtls.
const reloadingParts = 3

// reloading is a gateway with files of all kinds.
type reloading struct {
	*secureListeners
	t       *testing.T
	users   userFiles
	tunnels string // address of the DTLS listener
	// identities are those of devices with DTLS, keys is their file.
	identities []string
	keys       string
	// stay are the lines of the passwords that no reload changes, guest those that take turns.
	stay  string
	guest [2]string
}

func newReloading(t *testing.T) *reloading {
	f := &reloading{t: t, identities: []string{"dtls-0", "dtls-1"}, tunnels: freeAddr(t)}
	f.users = makeUsers(t, f.rights(0), "alice")
	f.stay = f.read(f.users.passwords)
	for i := range f.guest {
		// The tool knows one user per file once: each password is made in a file of its own.
		f.guest[i] = strings.Replace(f.read(makeUsers(t, "", guestName(i)).passwords), guestName(i), "guest", 1)
	}
	f.keys = pskFile(t, f.identities...)
	f.secureListeners = startSecure(t, f.users, func(p *plan) {
		p.args = append(p.args, "--dtls", f.tunnels, "--set", "dtls.psk_file="+f.keys)
	})
	return f
}

// guestName is after "pw-" the password of the user guest in the rounds that it is for.
func guestName(round int) string { return fmt.Sprint("guest", round%2) }

func (f *reloading) read(file string) string {
	f.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(text)
}

// rights give everybody in every round what is below a name of theirs, and the guest
// something that differs.
func (f *reloading) rights(round int) string {
	return fmt.Sprintf("topic readwrite field/#\nuser guest\ntopic readwrite round/%d\npattern readwrite %%u/#\n", round)
}

// rewrite writes all files for a round.
func (f *reloading) rewrite(round int) {
	f.t.Helper()
	f.users.write(f.t, f.users.passwords, f.stay+f.guest[round%2])
	f.users.write(f.t, f.users.acl, f.rights(round))
	f.pair = f.ca.IssueAs(strings.TrimSuffix(f.pair.CertificateFile, ".pem"), "broker", nil)
	keys := ""
	for _, identity := range append(slices.Clone(f.identities), guestName(round)) {
		keys += identity + ":" + pskOf(identity) + "\n"
	}
	f.users.write(f.t, f.keys, keys)
}

// holds checks that newcomers see the files of a round.
func (f *reloading) holds(round int) {
	f.t.Helper()
	conn := f.dialTLS()
	if shown := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]; !shown.Equal(f.pair.TLS.Leaf) {
		f.t.Errorf("round %d: the certificate is not the new one", round)
	}
	guest, code := login(f.t, conn, "guest", "guest", "pw-"+guestName(round))
	if code != 0 {
		f.t.Fatalf("round %d: the new password is refused: %02X", round, code)
	}
	for topic, want := range map[string]byte{fmt.Sprint("round/", round): 0, fmt.Sprint("round/", round-1): 0x87} {
		if code, err := guest.publish(topic, "x"); err != nil || code&0x80 != want&0x80 {
			f.t.Errorf("round %d: a message to %s: %02X, %v, want %02X", round, topic, code, err, want)
		}
	}
	guest.leave()
}
