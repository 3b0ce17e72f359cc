package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mqttsn-gateway/config"
)

// execute runs the command line and returns what it printed.
func execute(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := rootCommand()
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

func TestConfigSampleAndCheck(t *testing.T) {
	sample, err := execute("config", "sample")
	if err != nil || sample != config.Sample {
		t.Fatalf("got %q, %v", sample, err)
	}
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := execute("config", "check", file); err != nil || out != file+": ok\n" {
		t.Errorf("got %q, %v", out, err)
	}
	if err := os.WriteFile(file, []byte("session:\n  t_rety: 1s\n  n_retry: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = execute("config", "check", file)
	var out bytes.Buffer
	report(&out, err)
	want := "gateway: the configuration cannot be used:\n" +
		"  " + file + ":2: session.t_rety: there is no such option; did you mean session.t_retry?\n" +
		"  " + file + ":3: session.n_retry: \"x\" is given; allowed is a whole number\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// What is wrong with a file that the configuration names is said as well, and each of them.
func TestConfigCheckReadsFiles(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	broken := map[string]string{
		"passwords": "alice:" + "secret\n", "rights": "topic read a\ntopic raed b c\n",
		"who": "pump-7\n", "logins": "pump-7\n", "psk": "pump-7:xyz\n",
	}
	for name, text := range broken {
		put(t, path(name), text)
	}
	file := path("gateway.yaml")
	put(t, file, "auth: {password_file: "+path("passwords")+"}\ngateway: {identity_file: "+path("who")+"}\n"+
		"broker: {url: 'mqtt://x', credentials_file: "+path("logins")+"}\n"+
		"dtls: {listeners: ['127.0.0.1:0'], psk_file: "+path("psk")+"}\n")
	out, err := execute("config", "check", file)
	var wrong *config.Error
	if !errors.As(err, &wrong) || len(wrong.Problems) != 4 || out != "" {
		t.Fatalf("%q, %v", out, err)
	}
	for i, want := range []string{
		"auth.password_file: " + path("passwords") + ":1: ", "gateway.identity_file: " + path("who") + ": line 1: ",
		"broker.credentials_file: " + path("logins") + ": line 1: ", "dtls.psk_file: " + path("psk") + ": line 1: ",
	} {
		if got := wrong.Problems[i].String(); !strings.HasPrefix(got, want) || strings.Contains(got, "secret") {
			t.Errorf("%q is not about %q", got, want)
		}
	}
	if out, err := execute("config", "check", "--without-files", file); err != nil || out != file+": ok\n" {
		t.Errorf("%q, %v", out, err)
	}
	put(t, file, "auth: {acl_file: "+path("rights")+"}\n")
	if _, err := execute("config", "check", file); err == nil || !strings.Contains(err.Error(), "auth.acl_file: "+path("rights")+":2: ") {
		t.Error(err)
	}
	put(t, path("rights"), "pattern read news/#\n")
	if out, err := execute("config", "check", file); err != nil || !strings.HasSuffix(out, file+": ok\n") || !strings.Contains(out, "it is for everybody") {
		t.Errorf("%q, %v", out, err)
	}
	put(t, file, "mqtt: {listeners: [{listen: '127.0.0.1:0'}, {listen: '127.0.0.1:0', certificate_file: "+path("psk")+", key_file: "+path("psk")+"}]}\n")
	if _, err := execute("config", "check", file); err == nil || !strings.Contains(err.Error(), "mqtt.listeners.1.certificate_file: "+path("psk")) {
		t.Error(err)
	}
	// What nothing uses is not looked at.
	put(t, file, "broker: {credentials_file: "+path("none")+"}\ndtls: {psk_file: "+path("none")+"}\n")
	if _, err := execute("config", "check", file); err != nil {
		t.Error(err)
	}
}

func TestVersion(t *testing.T) {
	if out, err := execute("version"); err != nil || !strings.HasPrefix(out, "gateway ") || !strings.Contains(out, "go1.") {
		t.Errorf("got %q, %v", out, err)
	}
}

// Wrong command lines end with an error that says what is wrong, before anything listens.
func TestWrongCommandLines(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"serve"}, `unknown command "serve"`},
		{[]string{"--port", "1"}, "unknown flag: --port"},
		{[]string{"--broker", "mqtt://x", "--mqtt", ":1"}, "--mqtt is for the embedded broker"},
		{[]string{"--set", "x=1"}, "x: there is no such option"},
		{[]string{"--log-level", "loud"}, "log.level"},
		{[]string{"--broker", "http://x"}, "broker.url"},
		{[]string{"--udp", "1883"}, "udp.0.listen"},
		{[]string{"--config", "/nonexistent/file"}, "/nonexistent/file: no such file"},
		{[]string{"config", "check"}, "accepts 1 arg"},
		{[]string{"config", "sampel"}, `unknown command "sampel"`},
	} {
		if _, err := execute(c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.args, err, c.want)
		}
	}
}

func TestReportPlainError(t *testing.T) {
	var out bytes.Buffer
	report(&out, errors.New("it is late"))
	if out.String() != "gateway: it is late\n" {
		t.Errorf("got %q", out.String())
	}
}

func TestLogFormat(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for format, want := range map[string]string{"auto": `{"time":`, "json": `{"time":`, "text": "time="} {
		if err := file.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := file.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		log := newLogger(file, config.LogOptions{Level: "warn", Format: format})
		log.Info("not this")
		log.Warn("but this")
		text, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), want) || strings.Contains(string(text), "not this") || !strings.Contains(string(text), "but this") {
			t.Errorf("%s: got %q", format, text)
		}
	}
}
