package doctor

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	var r Report
	r.Add(Finding{Status: OK, Subject: "clock", Text: "is right"})
	var text strings.Builder
	if err := r.WriteJSON(&text); err != nil || r.Failed() != 0 {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), `"ok": true`) {
		t.Errorf("got %s", text.String())
	}
	r.Add(
		Finding{Status: Warn, Subject: "a", Text: "b"},
		Finding{Status: Fail, Subject: "udp :1883", Text: "taken", Fixes: []string{"this: x && y", "or that"}},
	)
	text.Reset()
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	want := "ok    clock: is right\nwarn  a: b\nfail  udp :1883: taken\n      -> this: x && y\n      -> or that\n"
	if text.String() != want || r.Failed() != 1 {
		t.Errorf("got\n%swant\n%s", text.String(), want)
	}
	text.Reset()
	if err := r.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	var got struct {
		OK       bool
		Findings []Finding
	}
	if err := json.Unmarshal([]byte(text.String()), &got); err != nil || got.OK || len(got.Findings) != 3 || got.Findings[2].Fixes[0] != "this: x && y" {
		t.Errorf("got %+v, %v", got, err)
	}
	if !strings.Contains(text.String(), "x && y") {
		t.Error("commands are not readable")
	}
	text.Reset()
	if err := new(Report).WriteJSON(&text); err != nil || !strings.Contains(text.String(), `"findings": []`) {
		t.Errorf("got %s, %v", text.String(), err)
	}
}

func TestExplain(t *testing.T) {
	cause := errors.New("x")
	err := (&trouble{cause: "it rains", fixes: []string{"go in", "take an umbrella"}}).explain("walk", cause)
	if !errors.Is(err, cause) || err.Error() != "walk: it rains; go in; take an umbrella" {
		t.Errorf("got %v", err)
	}
}

func TestForeignAndQuote(t *testing.T) {
	if got := foreign(" a\x1b[2J\nb\u202e "); got != "a?[2J?b?" {
		t.Errorf("got %q", got)
	}
	if got := foreign(strings.Repeat("é", 1000)); len([]rune(got)) != maxForeign {
		t.Errorf("got %d characters", len([]rune(got)))
	}
	for word, want := range map[string]string{
		"/dev/serial/by-id/usb-0:1.2": "/dev/serial/by-id/usb-0:1.2",
		"":                            "''",
		"a b":                         "'a b'",
		`x\x20y`:                      `'x\x20y'`,
		"it's;rm":                     `'it'\''s;rm'`,
		"é":                           "'é'",
	} {
		if got := quote(word); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
	}
}
