package upstream

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/test/pki"
)

func TestTemplate(t *testing.T) {
	as := broker.Principal{User: "u", Identity: "i"}
	for text, want := range map[template]string{
		"": "", "plain": "plain", "${clientid}": "c", "a-${user}.${identity}/${clientid}${clientid}": "a-u.i/cc", "$x$": "$x$",
	} {
		if err := text.check(placeClientID, placeUser, placeIdentity); err != nil {
			t.Error(err)
		}
		if got, err := text.fill("c", as); err != nil || got != want {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
	// What is filled in is not looked at again.
	if got, err := template("${clientid}").fill("${user}", as); err != nil || got != "${user}" {
		t.Errorf("%q %v", got, err)
	}
	for _, text := range []template{"${user}", "x${identity}"} {
		if got, err := text.fill("c", broker.Principal{}); err == nil {
			t.Errorf("%q: %q", text, got)
		}
	}
	for _, text := range []template{"${", "${}", "${client}", "${clientid", "${clientid}${USER}", "${${clientid}}"} {
		if err := text.check(placeClientID, placeUser); err == nil || !strings.Contains(err.Error(), "${clientid}, ${user}") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFileName(t *testing.T) {
	for id, good := range map[string]bool{
		"a": true, "a.b": true, ".a": true, "ä b": true, "aa:bb": true, "": false, ".": false, "..": false, "a..b": false,
		"a/b": false, "/a": false, `a\b`: false, "a\x00": false, "../../etc/passwd": false,
	} {
		if fault := fileName(id); (fault == "") != good {
			t.Errorf("%q: %q", id, fault)
		}
	}
}

func TestReadLogins(t *testing.T) {
	got, err := readLogins([]byte("# a comment\r\n\na:me:secret\nb:you:pass:with \\ and #\r\n\\#c\\:\\\\:x\\:y:\n" + "d:u: p "))
	want := map[string]login{
		"a":    {"me", []byte("secret"), 3},
		"b":    {"you", []byte(`pass:with \ and #`), 4},
		`#c:\`: {"x:y", nil, 5},
		"d":    {"u", []byte(" p "), 6},
	}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v %v", got, err)
	}
	for text, want := range map[string]string{
		"a:me:s3cret\nb": "line 2: no colon in the ClientID", "a:s3cret": "line 1: no colon in the user name",
		":me:s3cret": "line 1: the ClientID is missing", "a::s3cret": "line 1: the user name is missing",
		"a:me:1\n\na:you:2": "line 3: the ClientID stands in line 1 already",
		`a\x:me:s3cret`:     "line 1: a backslash", `a\`: "line 1: a backslash", "a:me\\": "line 1: a backslash without",
		"a\xff:me:s3cret": "UTF-8", "a:m\x00e:s3cret": "UTF-8",
		"a:me:s3cret" + strings.Repeat("x", 65536): "longer than 65535",
	} {
		_, err := readLogins([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%.30q: %v, want %q", text, err, want)
		}
	}
}

func FuzzReadLogins(f *testing.F) {
	f.Add([]byte("a:me:secret\n#\n\\#b\\::x\\\\:\r\nc:d:e:f"))
	f.Add([]byte("a:\\"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := readLogins(text)
		if err != nil {
			return
		}
		// What was read can be written, and is read again as the same.
		var b strings.Builder
		escape := strings.NewReplacer(":", `\:`, `\`, `\\`, "#", `\#`)
		lines := 0
		for id, l := range all {
			fmt.Fprintf(&b, "%s:%s:%s\n", escape.Replace(id), escape.Replace(l.username), l.password)
			if id == "" || l.username == "" || l.line < 1 {
				t.Fatalf("%q: %+v", id, l)
			}
			lines = max(lines, l.line)
		}
		if lines > strings.Count(string(text), "\n")+1 {
			t.Fatalf("line %d of %q", lines, text)
		}
		again, err := readLogins([]byte(b.String()))
		if err != nil || len(again) != len(all) {
			t.Fatalf("%q: %v", b.String(), err)
		}
		for id, l := range all {
			if other := again[id]; other.username != l.username || string(other.password) != string(l.password) && !strings.HasSuffix(string(l.password), "\r") {
				t.Fatalf("%q: %+v and %+v", id, l, other)
			}
		}
	})
}

func secretFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestValidatePapers(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"ca_file: \"x\" is of no use without TLS":        func(o *Options) { o.URL, o.CAFile = "mqtt://b", "x" },
		"server_name: \"x\" is of no use":                func(o *Options) { o.URL, o.ServerName = "ws://b", "x" },
		"alpn: \"x\" is of no use":                       func(o *Options) { o.URL, o.ALPN = "ws://b", "x" },
		"alpn: 256":                                      func(o *Options) { o.ALPN = strings.Repeat("x", 256) },
		"key_file: \"x\" is of no use":                   func(o *Options) { o.KeyFile = "x" },
		"key_file: \"x\" is not allowed with":            func(o *Options) { o.CertificateFile, o.KeyFile = "${clientid}", "x" },
		"username: \"${client}\" is not allowed":         func(o *Options) { o.Username = "${client}" },
		"key_file: \"${user}\" is not allowed":           func(o *Options) { o.CertificateFile, o.KeyFile = "${clientid}", "${user}" },
		"username: \"${clientid}\" is not allowed in":    func(o *Options) { o.Mode, o.Username = Aggregating, "${clientid}" },
		"certificate_file: \"${clientid}\" is not":       func(o *Options) { o.Mode, o.CertificateFile, o.KeyFile = Aggregating, "${clientid}", "${clientid}" },
		"credentials_file: \"x\" is not allowed in mode": func(o *Options) { o.Mode, o.CredentialsFile = Aggregating, "x" },
	} {
		o := DefaultOptions()
		o.URL = "mqtts://b"
		change(&o)
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestPresent(t *testing.T) {
	ca := pki.New(t, "authority")
	dir := t.TempDir()
	ca.IssueAs(filepath.Join(dir, "a"), "a", nil)
	ca.IssueAs(filepath.Join(dir, "stray"), "stray", nil)
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	ca.IssueAs(filepath.Join(dir, "in", "a"), "inner", nil)
	shared := ca.Issue("shared", nil)
	table := secretFile(t, "a:mine:mypass\n")
	password := secretFile(t, "ourpass")
	for name, c := range map[string]struct {
		change   func(*Options)
		id       string
		as       broker.Principal
		username string
		password string
		cert     string // its common name
		reason   string
	}{
		"nothing":             {change: func(*Options) {}, id: "a"},
		"shared":              {change: func(o *Options) { o.Username, o.PasswordFile = "us", password }, id: "a", username: "us", password: "ourpass"},
		"a template":          {change: func(o *Options) { o.Username, o.PasswordFile = "x-${user}", password }, id: "a", as: broker.Principal{User: "u"}, username: "x-u", password: "ourpass"},
		"an unknown user":     {change: func(o *Options) { o.Username, o.PasswordFile = "x-${user}", password }, id: "a", reason: noCredentials},
		"a line":              {change: func(o *Options) { o.CredentialsFile, o.Username = table, "us" }, id: "a", username: "mine", password: "mypass"},
		"no line, but shared": {change: func(o *Options) { o.CredentialsFile, o.Username = table, "us" }, id: "b", username: "us"},
		"no line":             {change: func(o *Options) { o.CredentialsFile = table }, id: "b", reason: noCredentials},
		"a line, not a user":  {change: func(o *Options) { o.CredentialsFile, o.Username = table, "${user}" }, id: "a", username: "mine", password: "mypass"},
		"shared certificate": {change: func(o *Options) {
			o.CertificateFile, o.KeyFile = shared.CertificateFile, shared.KeyFile
		}, id: "a", cert: "shared"},
		"own certificate":  {change: own(dir), id: "a", cert: "a"},
		"none":             {change: own(dir), id: "b", reason: noCertificate},
		"out of its place": {change: own(filepath.Join(dir, "in")), id: "../stray", reason: badClientID},
		"further in":       {change: own(dir), id: "in/a", reason: badClientID},
		"with a backslash": {change: own(dir), id: `in\a`, reason: badClientID},
		"with a NUL":       {change: own(dir), id: "a\x00", reason: badClientID},
	} {
		t.Run(name, func(t *testing.T) {
			o := DefaultOptions()
			o.URL = "mqtts://b"
			c.change(&o)
			b, err := New(o, nil, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			var h hello
			cert, refused := b.papers.Load().present(&h, c.id, c.as)
			if c.reason != "" {
				if refused == nil || refused.reason != c.reason || refused.code != broker.CodeNotAuthorized || cert != nil {
					t.Fatalf("%+v %v", refused, cert)
				}
				return
			}
			if refused != nil || h.username != c.username || string(h.password) != c.password || (cert == nil) != (c.cert == "") {
				t.Fatalf("%+v %q %q %v", refused, h.username, h.password, cert)
			}
			if cert != nil && cert.Leaf.Subject.CommonName != c.cert {
				t.Fatalf("shows the certificate of %s", cert.Leaf.Subject.CommonName)
			}
		})
	}
}

func own(dir string) func(*Options) {
	return func(o *Options) {
		o.CertificateFile, o.KeyFile = filepath.Join(dir, "${clientid}.pem"), filepath.Join(dir, "${clientid}.key")
	}
}

// A broken file keeps the old state, and says why; a good one counts at once.
func TestReload(t *testing.T) {
	ca := pki.New(t, "authority")
	pair := ca.Issue("us", nil)
	table, password, roots := secretFile(t, "a:me:1"), secretFile(t, "p1"), filepath.Join(t.TempDir(), "roots")
	text, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(roots, string(text))
	o := DefaultOptions()
	o.URL, o.Username, o.PasswordFile, o.CredentialsFile, o.CAFile = "mqtts://b", "us", password, table, roots
	o.CertificateFile, o.KeyFile = pair.CertificateFile, pair.KeyFile
	b, err := New(o, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Files(); !slices.Equal(got, []string{password, table, roots, pair.CertificateFile, pair.KeyFile}) {
		t.Errorf("%q", got)
	}
	now := func() string {
		var h hello
		cert, refused := b.papers.Load().present(&h, "a", broker.Principal{})
		if refused != nil {
			t.Fatal(refused)
		}
		return fmt.Sprintf("%s %s %s %s", h.username, h.password, b.papers.Load().password, cert.Leaf.Subject.CommonName)
	}
	put(table, "a:me:2")
	put(password, "p2")
	ca.IssueAs(strings.TrimSuffix(pair.CertificateFile, ".pem"), "renewed", nil)
	if err := b.Reload(); err != nil || now() != "me 2 p2 renewed" {
		t.Fatalf("%v %s", err, now())
	}
	for _, c := range []struct{ name, text, good, want string }{
		{table, "a:me:3\nb", "a:me:2", "credentials_file: " + table + ": line 2: "},
		{password, "", "p2", "password_file: "},
		{roots, "none", string(text), "ca_file: "},
	} {
		put(c.name, c.text)
		if err := b.Reload(); err == nil || !strings.HasPrefix(err.Error(), c.want) || now() != "me 2 p2 renewed" {
			t.Fatalf("%v %s", err, now())
		}
		put(c.name, c.good)
		if err := b.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(pair.KeyFile); err != nil {
		t.Fatal(err)
	}
	if err := b.Reload(); err == nil || !strings.HasPrefix(err.Error(), "key_file: ") || now() != "me 2 p2 renewed" {
		t.Fatalf("%v %s", err, now())
	}
	own(t.TempDir())(&b.options)
	if got := b.Files(); !slices.Equal(got, []string{password, table, roots}) {
		t.Errorf("%q", got)
	}
}
