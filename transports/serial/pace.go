package serial

import "time"

// pace reckons how much of what was written the line has not carried yet, so that what
// waits, waits in our queue, where it is bounded and counted, and not in the driver.
type pace struct {
	octet time.Duration // a start bit, eight bits and a stop bit
	idle  time.Time     // when the line will have carried everything
}

// ahead is how long the line is busy with what the driver holds when it gets more: enough
// to fill the gap until a timer has woken the writer. A write adds as much again or one
// packet, so that the driver holds no more than some 80 ms.
const ahead = 40 * time.Millisecond

func newPace(baud int) pace { return pace{octet: 10 * time.Second / time.Duration(baud)} }

// budget is how many octets one write carries, if they are not of one packet.
func (p *pace) budget() int { return max(1, int(ahead/p.octet)) }

// wait is how long to wait before the next write; 0 or less: not at all.
func (p *pace) wait(now time.Time) time.Duration { return p.idle.Add(-ahead).Sub(now) }

// wrote accounts for n octets given to the driver from start on. unsent is how many it
// says to hold now, which is more than reckoned if the line is slower than it should be.
func (p *pace) wrote(start, now time.Time, n, unsent int) {
	if p.idle.Before(start) {
		p.idle = start
	}
	p.idle = p.idle.Add(time.Duration(n) * p.octet)
	if held := now.Add(time.Duration(unsent) * p.octet); p.idle.Before(held) {
		p.idle = held
	}
}
