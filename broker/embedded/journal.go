package embedded

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// journal writes what clients do into the log, and bounds how many lines that is: who
// connects again and again fills no disk. Lines that are left out are counted, and the
// log is told how many they were.
type journal struct {
	log *slog.Logger
	now func() time.Duration

	mu     sync.Mutex
	bucket bucket
	left   int // lines that were left out and that the log was not told of
}

// So many lines a second, and so many at once after a quiet time.
const (
	journalRate  = 10
	journalBurst = 100
)

// journalPause is how long the log waits to be told how many lines were left out.
const journalPause = 10 * time.Second

// write writes one line, or leaves it out. It may block as the log does: no lock may be
// held.
func (j *journal) write(level slog.Level, text string, args ...any) {
	if !j.log.Enabled(context.Background(), level) {
		return
	}
	j.mu.Lock()
	ok := j.bucket.allow(j.now(), journalRate, journalBurst)
	if !ok {
		if j.left++; j.left == 1 {
			time.AfterFunc(journalPause, j.report)
		}
	}
	j.mu.Unlock()
	if ok {
		j.log.Log(context.Background(), level, text, args...)
	}
}

// report tells the log how many lines were left out, if any were.
func (j *journal) report() {
	j.mu.Lock()
	n := j.left
	j.left = 0
	j.mu.Unlock()
	if n > 0 {
		j.log.Warn("there was too much to log about MQTT clients: lines were left out", "lines", n)
	}
}

// shownID is how many octets of a client id the log has at most.
const shownID = 100

// shown is what clients have chosen, such as their id, as the log may have it: not too
// long, and with nothing in it that a terminal obeys.
func shown(text string) string {
	cut := ""
	if len(text) > shownID {
		n := shownID
		for n > shownID-utf8.UTFMax && !utf8.RuneStart(text[n]) {
			n--
		}
		cut = "... (" + strconv.Itoa(len(text)) + " octets)"
		text = text[:n]
	}
	if strings.IndexFunc(text, hidden) < 0 {
		return text + cut
	}
	var b strings.Builder
	for _, r := range text {
		if hidden(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String() + cut
}

func hidden(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
