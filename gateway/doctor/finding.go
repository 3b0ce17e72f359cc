package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Status says how bad a finding is.
type Status string

// The values of Status.
const (
	OK   Status = "ok"
	Warn Status = "warn" // does not stop the gateway as it is configured
	Fail Status = "fail" // does
)

// Finding is what came out of one check.
type Finding struct {
	Status Status `json:"status"`
	// Subject is what was looked at, such as "udp 127.0.0.1:1883".
	Subject string `json:"subject"`
	// Text is what is wrong with it, or that nothing is.
	Text string `json:"text"`
	// Fixes are what helps, each a purpose, a colon and a command, or advice.
	Fixes []string `json:"fixes,omitempty"`
}

// Report is all that was found.
type Report struct {
	Findings []Finding
}

// Add appends findings.
func (r *Report) Add(findings ...Finding) { r.Findings = append(r.Findings, findings...) }

// Failed is how many findings are fails.
func (r *Report) Failed() int {
	n := 0
	for _, f := range r.Findings {
		if f.Status == Fail {
			n++
		}
	}
	return n
}

// WriteText writes the report for people: a line for each finding, and one for each fix.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%-4s  %s: %s\n", f.Status, f.Subject, f.Text)
		for _, fix := range f.Fixes {
			fmt.Fprintf(&b, "      -> %s\n", fix)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes the report for programs: an object with "ok", whether nothing failed,
// and "findings".
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		OK       bool      `json:"ok"`
		Findings []Finding `json:"findings"`
	}{r.Failed() == 0, append([]Finding{}, r.Findings...)})
}

// trouble is why something does not work, and what helps.
type trouble struct {
	cause   string
	fixes   []string
	running bool // it is just that a gateway is running
}

func (t *trouble) finding(status Status, subject string) Finding {
	return Finding{Status: status, Subject: subject, Text: t.cause, Fixes: t.fixes}
}

// explain is err in the words of the trouble.
func (t *trouble) explain(subject string, err error) error {
	text := subject + ": " + t.cause
	if len(t.fixes) > 0 {
		text += "; " + strings.Join(t.fixes, "; ")
	}
	return &explained{text: text, err: err}
}

// explained is an error with a text that says what to do.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

// maxForeign bounds what is shown of a text that is not ours, in characters.
const maxForeign = 100

// foreign is a text that a device, a program or a broker chose, made fit for a terminal.
func foreign(text string) string {
	n := 0
	return strings.Map(func(r rune) rune {
		if n++; n > maxForeign {
			return -1
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.TrimSpace(text))
}

// quote writes a word for a shell.
func quote(word string) string {
	plain := func(r rune) bool {
		return r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) || strings.ContainsRune("/._-:@+,=%", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
