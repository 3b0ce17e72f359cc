package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"mqttsn-gateway/test/pki"
)

// secureListeners are a gateway with a listener of each kind, and who may use them.
type secureListeners struct {
	*gateway
	ca   *pki.Authority
	pair pki.Pair // that all listeners with TLS show
	// Addresses: TLS, TLS with certificates of clients, WebSocket, WebSocket with TLS.
	tls, certified, ws, wss string
}

func startSecure(t *testing.T, users userFiles, settings ...setting) *secureListeners {
	t.Helper()
	s := &secureListeners{ca: pki.New(t, "authority"), tls: freeAddr(t), certified: freeAddr(t), ws: freeAddr(t), wss: freeAddr(t)}
	s.pair = s.ca.Issue("broker", nil)
	files := ",certificate_file=" + s.pair.CertificateFile + ",key_file=" + s.pair.KeyFile
	p := newPlan(append(settings, users.settings)...)
	p.args = append(p.args,
		"--mqtt", s.tls+files,
		"--mqtt", s.certified+files+",client_ca_file="+s.ca.File+",require_certificate=true,use_identity_as_username=true",
		"--mqtt", s.ws+",protocol=websockets",
		"--mqtt", s.wss+",protocol=websockets"+files,
	)
	s.gateway = startGateway(t, p, "", nil)
	return s
}

// Mosquitto's own clients with TLS, with user name and password, and with certificates.
func TestMosquittoClientsOverTLS(t *testing.T) {
	t.Parallel()
	s := startSecure(t, makeUsers(t, "pattern readwrite %u/#\n", "alice"))
	alice, stranger := s.ca.Issue("pump", nil), pki.New(t, "another").Issue("pump", nil)
	trust := []string{"--cafile", s.ca.File}
	certificate := func(p pki.Pair) []string {
		return append(slices.Clone(trust), "--cert", p.CertificateFile, "--key", p.KeyFile)
	}
	password := append(slices.Clone(trust), "-u", "alice", "-P", "pw-alice")
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		for name, c := range map[string]struct {
			addr, topic string
			args        []string
		}{
			"a password":                 {s.tls, "alice/a", password},
			"TLS 1.2":                    {s.tls, "alice/a", append(slices.Clone(password), "--tls-version", "tlsv1.2")},
			"a certificate":              {s.certified, "pump/a", certificate(alice)},
			"a certificate, other words": {s.certified, "pump/a", append(certificate(alice), "-u", "alice", "-P", "wrong")},
		} {
			for qos := range 3 {
				payload := fmt.Sprint(version, qos)
				args := append(slices.Clone(c.args), "-V", version, "-q", fmt.Sprint(qos), "-t", c.topic)
				if out, err := runTool("mosquitto_pub", c.addr, append(slices.Clone(args), "-r", "-m", payload)...); err != nil {
					t.Fatalf("%s, %s: %v\n%s", version, name, err, out)
				}
				if out, err := runTool("mosquitto_sub", c.addr, append(slices.Clone(args), "-C", "1", "-W", "10")...); err != nil || strings.TrimSpace(out) != payload {
					t.Fatalf("%s, %s: got %q, %v, want %q", version, name, out, err, payload)
				}
			}
		}
		for name, c := range map[string]struct {
			addr string
			args []string
		}{
			"no password":       {s.tls, trust},
			"a wrong password":  {s.tls, append(slices.Clone(trust), "-u", "alice", "-P", "x")},
			"another authority": {s.tls, []string{"--cafile", pki.New(t, "another").File, "-u", "alice", "-P", "pw-alice"}},
			"no TLS":            {s.tls, []string{"-u", "alice", "-P", "pw-alice"}},
			"no certificate":    {s.certified, password},
			"a stranger's":      {s.certified, certificate(stranger)},
			"an expired one":    {s.certified, certificate(s.ca.Issue("pump", pki.Expired))},
		} {
			if out, err := runTool("mosquitto_pub", c.addr, append(slices.Clone(c.args), "-V", version, "-t", "alice/a", "-m", "x")...); err == nil {
				t.Errorf("%s, %s: let in: %s", version, name, out)
			}
		}
	}
	// Each version counts once; the last has no connection at all with the stranger's.
	for reason, want := range map[string]float64{"no_certificate": 3, "unknown_authority": 3, "expired_certificate": 3, "no_tls": 3, "certificate_refused": 3} {
		eventually(t, "all are counted as "+reason, func() bool { return s.labelled(t, "embedded_handshakes_failed_total", reason) == want })
	}
}

// waysOf are what MQTT.js has to say of URLs, for both versions.
func waysOf(urls ...string) (all []string) {
	for _, u := range urls {
		for _, version := range []string{" 4", " 5"} {
			all = append(all, u+version+" got 0 1 2")
		}
	}
	return all
}

// MQTT.js in Node.js, by TLS and both kinds of WebSocket.
func TestMQTTjsOverWebSocket(t *testing.T) {
	t.Parallel()
	node := tool(t, "node", "Node.js")
	s := startSecure(t, makeUsers(t, "user alice\ntopic readwrite ways/#\n", "alice"))
	urls := []string{"mqtts://" + s.tls, "ws://" + s.ws, "ws://" + s.ws + "/mqtt", "wss://" + s.wss + "/any/path"}
	out, err := exec.Command(node, append([]string{"testdata/mqttjs/ways.mjs", s.ca.File, "alice", "pw-alice"}, urls...)...).CombinedOutput()
	if want := strings.Join(waysOf(urls...), "\n") + "\n"; err != nil || string(out) != want {
		t.Fatalf("%v\n%s\nwant\n%s", err, out, want)
	}
}

// browsers are the names of Chromium.
var browsers = []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

// MQTT.js on a page in Chromium.
func TestBrowser(t *testing.T) {
	t.Parallel()
	s := startSecure(t, makeUsers(t, "user alice\ntopic readwrite ways/#\n", "alice"))
	reports := make(chan string, 20)
	site := serveSite(t, reports)
	_, port, _ := net.SplitHostPort(site)
	urls := []string{"ws://" + s.ws, "wss://" + s.wss + "/mqtt"}
	query := url.Values{"url": urls, "user": {"alice"}, "password": {"pw-alice"}}.Encode()
	got := browse(t, "http://"+site+"/page.html?"+query, reports)
	if want := waysOf(urls...); !slices.Equal(got, want) {
		t.Fatalf("the page says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// The same page from another host may not, as no list of origins has it.
	got = browse(t, "http://localhost:"+port+"/page.html?"+query, reports)
	if len(got) != 4 || slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "got") }) {
		t.Errorf("a page from elsewhere: %q", got)
	}
	if n := s.labelled(t, "embedded_handshakes_failed_total", "origin"); n != 4 {
		t.Errorf("%v are counted as from elsewhere", n)
	}
	for _, part := range []string{`"reason":"origin"`, `http://localhost:` + port} {
		if !strings.Contains(s.log.String(), part) {
			t.Errorf("the log does not say %s", part)
		}
	}
}

// serveSite is a web server with the page, which takes what the page reports.
func serveSite(t *testing.T, reports chan<- string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /report", func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		reports <- string(text)
	})
	for path, file := range map[string]string{"/page.html": "page.html", "/ways.js": "ways.js", "/mqtt.min.js": "node_modules/mqtt/dist/mqtt.min.js"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "testdata/mqttjs/"+file) })
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: patience}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return l.Addr().String()
}

// profile is a directory for a browser, of which a process may be left that still writes.
func profile(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "chromium") //nolint:usetesting // it would be removed once only
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { eventually(t, "the browser's files are gone", func() bool { return os.RemoveAll(dir) == nil }) })
	return dir
}

// browse opens a page in Chromium, and gathers what it reports until it is done. Chromium may
// reach nobody but this machine, and takes any certificate.
func browse(t *testing.T, page string, reports <-chan string) (got []string) {
	t.Helper()
	var browser string
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Fatal("there is no Chromium (Debian's package chromium-headless-shell or chromium): ./test/run installs what the tests need")
	}
	p := prepare("Chromium", browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost", "--ignore-certificate-errors",
		"--remote-debugging-port=0", // or the shell would end at once
		"--user-data-dir="+profile(t), page)
	p.cmd.WaitDelay = time.Second // for the processes that it leaves
	p.begin(t)
	defer func() { _ = p.terminate(patience) }()
	late := time.NewTimer(4 * patience)
	defer late.Stop()
	for {
		select {
		case line := <-reports:
			if line == "done" {
				return got
			}
			got = append(got, line)
		case <-p.ended:
			t.Fatalf("Chromium has ended: %v\n%s", p.err, p.log)
		case <-late.C:
			t.Fatalf("the page is not done; it said %q\n%s", got, p.log)
		}
	}
}
