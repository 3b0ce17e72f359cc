package doctor

import (
	"errors"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	m := newMachine(t, nil)
	at := func(now string) func() time.Time {
		v, err := time.Parse(time.DateOnly, now)
		if err != nil {
			t.Fatal(err)
		}
		return func() time.Time { return v }
	}
	built := at("2027-03-01")()
	m.now = at("2027-03-02")
	want(t, m.clock(built), OK, "2027-03-02", "synchronised")
	m.now = at("2027-02-20")
	want(t, m.clock(built), Fail, "before this program was made (2027-03-01)", "timedatectl set-ntp true")
	want(t, m.clock(time.Time{}), OK)
	m.now = at("1970-01-01")
	want(t, m.clock(time.Time{}), Fail, "says 1970-01-01", "2026-01-01")
	m.now = at("2027-03-02")
	m.unsynchronised = func() (bool, error) { return true, nil }
	want(t, m.clock(built), Warn, "not synchronised", "timedatectl set-ntp true", "timedatectl status")
	m.unsynchronised = func() (bool, error) { return true, errors.ErrUnsupported }
	want(t, m.clock(built), OK, "cannot be told")
	if f := Clock(time.Time{}); f.Subject != "clock" {
		t.Errorf("got %+v", f)
	}
}
