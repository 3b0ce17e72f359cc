package remote

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for url, want := range map[string]Endpoint{
		"mqtt://broker":                    {Scheme: "mqtt", Host: "broker", Port: "1883"},
		"mqtt://broker:1":                  {Scheme: "mqtt", Host: "broker", Port: "1"},
		"mqtts://10.0.0.1/":                {Scheme: "mqtts", Host: "10.0.0.1", Port: "8883"},
		"mqtts://[::1]:443":                {Scheme: "mqtts", Host: "::1", Port: "443"},
		"MQTTS://broker":                   {Scheme: "mqtts", Host: "broker", Port: "8883"},
		"ws://broker":                      {Scheme: "ws", Host: "broker", Port: "80", Path: "/mqtt"},
		"ws://broker:9001/":                {Scheme: "ws", Host: "broker", Port: "9001", Path: "/"},
		"wss://broker/a%20b/c":             {Scheme: "wss", Host: "broker", Port: "443", Path: "/a%20b/c"},
		"mqtts://broker?" + insecure:       {Scheme: "mqtts", Host: "broker", Port: "8883", Insecure: true},
		"wss://broker/x?" + insecure:       {Scheme: "wss", Host: "broker", Port: "443", Path: "/x", Insecure: true},
		"mqtts://[fe80::1%25eth0]:7":       {Scheme: "mqtts", Host: "fe80::1%eth0", Port: "7"},
		"mqtts://broker:8883/?" + insecure: {Scheme: "mqtts", Host: "broker", Port: "8883", Insecure: true},
	} {
		if got, err := Parse(url); err != nil || got != want {
			t.Errorf("%s: %+v %v", url, got, err)
		}
	}
	for url, want := range map[string]string{
		"":                                "missing",
		"http://b":                        "none of mqtt",
		"b:1883":                          "none of mqtt",
		"mqtt://:1883":                    "the host",
		"mqtt://b:0":                      "the port",
		"mqtt://b/x":                      "nothing may follow the port",
		"mqtt://b#x":                      "#",
		"mqtt://b?" + insecure:            "without TLS",
		"ws://b?" + insecure:              "without TLS",
		"mqtts://b?insecure_skip_verify":  "only insecure_skip_verify=true",
		"mqtts://b?insecure_skip_verify=": "only insecure_skip_verify=true",
		"mqtts://b?x=y":                   "only insecure_skip_verify=true",
		"mqtts://b?" + insecure + "&x=y":  "only insecure_skip_verify=true",
		"mqtts://b?":                      "only insecure_skip_verify=true",
		"mqtts://me:secret@b":             `"mqtts://...@b" is not allowed: a user name`,
		"wss://me:secret@b:1/x":           `"wss://...@b:1/x" is not allowed: a user name`,
		"mqtt:me:secret@b":                "mqtt://...@b",
	} {
		_, err := Parse(url)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}

func TestNamesOfEndpoint(t *testing.T) {
	for url, want := range map[string][3]string{
		"mqtts://broker":            {"mqtts://broker:8883", "broker", ""},
		"wss://broker":              {"wss://broker:443/mqtt", "broker", "broker"},
		"ws://broker:443/x":         {"ws://broker:443/x", "broker", "broker:443"},
		"wss://[::1]":               {"wss://[::1]:443/mqtt", "::1", "[::1]"},
		"ws://[fe80::1%25eth0]:7":   {"ws://[fe80::1%eth0]:7/mqtt", "fe80::1", "[fe80::1]:7"},
		"wss://broker/?" + insecure: {"wss://broker:443/", "broker", "broker"},
	} {
		e, err := Parse(url)
		if err != nil || e.String() != want[0] || e.serverName() != want[1] || e.WebSocket() && e.webHost() != want[2] {
			t.Errorf("%s: %q %q %q %v", url, e, e.serverName(), e.webHost(), err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("mqtts://broker:1/x?" + insecure)
	f.Add("wss://me:secret@[::1%25a]:7/a%2Fb#c")
	f.Fuzz(func(t *testing.T, url string) {
		e, err := Parse(url)
		if err != nil {
			return
		}
		if again, err := Parse(url); err != nil || again != e {
			t.Fatal("it is read in two ways")
		}
		if e.Host == "" || e.Port == "" || e.Insecure && !strings.Contains(url, "insecure") {
			t.Fatalf("%q is read as %+v", url, e)
		}
	})
}
