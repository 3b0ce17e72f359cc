package doctor

import (
	"fmt"
	"time"
)

// Clock looks whether the clock can be right. built is when this program was made, which
// is before now; zero if that is not known. A wrong clock makes certificates look
// expired or not valid yet, and times in logs wrong; the protocol's own timers do not
// depend on it.
func Clock(built time.Time) Finding { return host().clock(built) }

// firstYear is when no build of this program existed yet.
const firstYear = 2026

func (s *system) clock(built time.Time) Finding {
	const subject = "clock"
	earliest := time.Date(firstYear, time.January, 1, 0, 0, 0, 0, time.UTC)
	if built.After(earliest) {
		earliest = built
	}
	sync := []string{"have it set from the network: sudo timedatectl set-ntp true", "see how far that is: timedatectl status"}
	now := s.now()
	if now.Before(earliest.Add(-24 * time.Hour)) { // time zones and a builder's own clock
		return Finding{
			Status: Fail, Subject: subject,
			Text: fmt.Sprintf("says %s, which is before this program was made (%s): certificates will not be valid yet. A machine without a battery for its clock, such as a Raspberry Pi, starts so until the network has set it",
				now.Format(time.DateTime), earliest.Format(time.DateOnly)),
			Fixes: sync,
		}
	}
	free, err := s.unsynchronised()
	switch {
	case err != nil:
		return Finding{Status: OK, Subject: subject, Text: "says " + now.Format(time.DateTime) + "; whether the network sets it cannot be told here"}
	case free:
		return Finding{
			Status: Warn, Subject: subject,
			Text:  "says " + now.Format(time.DateTime) + ", and is not synchronised: it may be wrong, and a machine without a battery for its clock starts with the time at which it was switched off",
			Fixes: sync,
		}
	}
	return Finding{Status: OK, Subject: subject, Text: "says " + now.Format(time.DateTime) + ", synchronised"}
}
