package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"mqttsn-gateway/transports/serial"
)

// SerialLines looks at what is on the other end of the configured serial ports that open:
// whether it speaks at the configured speed and in the configured framing. An XBee module
// is asked for its settings; other devices are only listened to. A line that does not make
// sense is tried at other usual speeds. It takes some seconds per speed, all ports at the
// same time, and ends early when ctx does.
func SerialLines(ctx context.Context, lines []serial.Options) []Finding {
	return host().serialLines(ctx, lines, serial.Probe)
}

// probe is serial.Probe.
type probe func(ctx context.Context, o serial.Options) (serial.ProbeResult, error)

func (s *system) serialLines(ctx context.Context, lines []serial.Options, look probe) []Finding {
	findings := make([]*Finding, len(lines))
	var looking sync.WaitGroup
	for i, o := range lines {
		if s.serialTrouble(o.Device, nil) == nil { // else SerialPorts tells
			looking.Go(func() { findings[i] = s.serialLine(ctx, o, look) })
		}
	}
	looking.Wait()
	var all []Finding
	for _, f := range findings {
		if f != nil {
			all = append(all, *f)
		}
	}
	return all
}

// usualSpeeds are tried when nothing sensible comes at the configured one; the first is
// what an XBee module is sold with.
var usualSpeeds = []int{9600, 115200, 57600, 38400}

// serialLine listens to one line.
func (s *system) serialLine(ctx context.Context, o serial.Options, look probe) *Finding {
	subject := fmt.Sprintf("serial line %s (%s, %d baud)", foreign(o.Device), foreign(o.Framing), o.Baud)
	result, err := look(ctx, o)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		f := Finding{Status: Fail, Subject: subject, Text: err.Error()}
		if t := s.serialTrouble(o.Device, err); t != nil {
			f = t.finding(Fail, subject)
		}
		return &f
	case o.Framing == xbeeFraming && result.Module.Answers:
		f := moduleFinding(subject, o, result.Module)
		return &f
	case result.Heard == serial.Frames:
		return &Finding{
			Status: OK, Subject: subject,
			Text: fmt.Sprintf("%d packets in %d octets: speed and framing are right", result.Frames, result.Octets),
		}
	case o.Framing != xbeeFraming && result.Heard == serial.Silence:
		return &Finding{
			Status: OK, Subject: subject,
			Text: "nothing was heard, so speed and framing cannot be judged; that is right if the device speaks only now and then",
		}
	}
	return s.otherSpeeds(ctx, subject, o, result, look)
}

const xbeeFraming = "xbee"

// otherSpeeds is for a line on which nothing makes sense at its own speed.
func (s *system) otherSpeeds(ctx context.Context, subject string, o serial.Options, result serial.ProbeResult, look probe) *Finding {
	for _, speed := range usualSpeeds {
		if speed == o.Baud {
			continue
		}
		other := o
		other.Baud = speed
		r, err := look(ctx, other)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil || !r.Module.Answers && r.Heard != serial.Frames {
			continue
		}
		return &Finding{
			Status: Fail, Subject: subject,
			Text:  fmt.Sprintf("the other end speaks at %d baud", speed),
			Fixes: []string{"use that speed: " + lineFlag(other)},
		}
	}
	f := Finding{Status: Warn, Subject: subject}
	switch {
	case o.Framing == xbeeFraming && result.Heard == serial.Silence:
		f.Text = "no XBee module answers: it is in transparent mode (AP 0), asleep, or at an unusual speed; or this is no XBee"
		f.Fixes = []string{
			fmt.Sprintf("with XCTU, set the module to API mode and store that: AP %d, WR", o.APIMode),
			"if it is no XBee, choose its framing (raw, slip or cobs): " + lineFlag(serial.Options{Device: o.Device, Baud: o.Baud, Framing: "raw"}),
		}
	case o.Framing == xbeeFraming:
		f.Text = "something speaks, but not as an XBee module in API mode does: " + heard(result)
		f.Fixes = []string{fmt.Sprintf("with XCTU, set the module to API mode and store that: AP %d, WR", o.APIMode)}
	default:
		f.Text = heard(result) + ", which make no packets of this framing, at no usual speed: the other end has another framing, or the line is disturbed"
		f.Fixes = []string{"choose the framing that the other end has (raw, slip, cobs or xbee): " + lineFlag(o)}
	}
	return &f
}

// heard is what came.
func heard(r serial.ProbeResult) string {
	return fmt.Sprintf("%d octets with %d good packets", r.Octets, r.Frames)
}

// moduleFinding compares an XBee module's settings with the configured ones.
func moduleFinding(subject string, o serial.Options, m serial.Module) Finding {
	about := "an XBee module answers"
	if m.Address != 0 {
		about = fmt.Sprintf("XBee %016X answers", m.Address)
	}
	if m.Firmware != 0 {
		about += fmt.Sprintf(", firmware %04X", m.Firmware)
	}
	if m.APIMode != 0 && m.APIMode != o.APIMode {
		other := o
		other.APIMode = m.APIMode
		fixes := []string{fmt.Sprintf("with XCTU, set the module to that mode and store it: AP %d, WR", o.APIMode)}
		if m.APIMode == 1 || m.APIMode == 2 {
			fixes = append([]string{"use the module's: " + lineFlag(other)}, fixes...)
		}
		return Finding{
			Status: Fail, Subject: subject,
			Text:  fmt.Sprintf("%s, but it is in API mode %d and the gateway in %d", about, m.APIMode, o.APIMode),
			Fixes: fixes,
		}
	}
	if most := payload(o); m.MaxPayload > 0 && m.MaxPayload < most {
		other := o
		other.MaxPayload = m.MaxPayload
		return Finding{
			Status: Warn, Subject: subject,
			Text:  fmt.Sprintf("%s, but its network carries %d octets per packet (NP), and the gateway sends up to %d: longer ones are lost", about, m.MaxPayload, most),
			Fixes: []string{"refuse them instead: " + lineFlag(other)},
		}
	}
	return Finding{Status: OK, Subject: subject, Text: about}
}

// payload is the largest packet that the gateway sends to an XBee module.
func payload(o serial.Options) int {
	if o.MaxPayload == 0 {
		return 80
	}
	return o.MaxPayload
}

// lineFlag is the flag for a line: what differs from the defaults.
func lineFlag(o serial.Options) string {
	d := serial.DefaultOptions()
	word := []string{o.Device}
	add := func(key string, value, usual any) {
		if value != usual {
			word = append(word, fmt.Sprintf("%s=%v", key, value))
		}
	}
	add("baud", o.Baud, d.Baud)
	add("framing", o.Framing, "") // always, since it is what often is wrong
	if slices.Contains([]string{"slip", "cobs"}, o.Framing) {
		add("crc", o.CRC, d.CRC)
	}
	if o.Framing == xbeeFraming {
		add("api_mode", o.APIMode, d.APIMode)
	}
	add("max_payload", o.MaxPayload, d.MaxPayload)
	return "--serial " + quote(strings.Join(word, ","))
}
