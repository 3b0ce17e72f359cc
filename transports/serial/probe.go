package serial

import (
	"context"
	"encoding/binary"
	"log/slog"
	"time"

	"mqttsn-gateway/transports/serial/framing"
	"mqttsn-gateway/transports/serial/xbee"
)

// Heard is what a line sounds like.
type Heard int

// What a line sounds like.
const (
	// Silence: no octets came. The other end is off, sends nothing by itself or is
	// connected to other pins.
	Silence Heard = iota
	// Frames: what came, or most of it, are frames of this framing at this speed.
	Frames
	// Garbage: octets came, but few frames or none: another speed or another framing.
	Garbage
)

// String is the name of h in lower case.
func (h Heard) String() string {
	switch h {
	case Silence:
		return "silence"
	case Frames:
		return "frames"
	case Garbage:
		return "garbage"
	default:
		return "unknown"
	}
}

// ProbeResult is what Probe has found out.
type ProbeResult struct {
	Heard Heard
	// Octets is how many came, Frames how many good frames they made, Errors what was
	// refused.
	Octets, Frames uint64
	Errors         framing.Errors
	// Module is what an XBee module says of itself. Module.Answers is false with other
	// framings, and when the module speaks another speed, is in transparent mode or is no
	// XBee.
	Module Module
}

// Module is what an XBee module says of itself.
type Module struct {
	// Answers says that the module has answered in API mode, at this speed.
	Answers bool
	// APIMode is its AP, which has to be Options.APIMode: 1 or 2; 0 if it did not say.
	APIMode int
	// Firmware is its VR, 0 if it did not say.
	Firmware uint16
	// Address is its 64-bit address, SH and SL; 0 if it did not say.
	Address uint64
	// MaxPayload is its NP: the octets that one packet carries; 0 if it did not say, or
	// answers 255, as coordinators do, which means nothing.
	MaxPayload int
}

// probeTime is how long Probe listens, or waits for a module's answers.
const probeTime = 3 * time.Second

// Probe opens a port for a moment and finds out what is on it: it asks an XBee module for
// its settings, and listens with other framings, for some seconds or until ctx is done.
// It changes no setting and sends nothing into the network. An error says that the port
// does not open or was lost. Octets that a device sends while it is opened count as heard
// only from then on. The port is closed when Probe returns, or, if its driver holds up
// what was written, when it lets go.
func Probe(ctx context.Context, o Options) (ProbeResult, error) {
	if err := o.Validate(); err != nil {
		return ProbeResult{}, err
	}
	d := newDevice(o, slog.New(slog.DiscardHandler))
	defer d.end()
	return probe(ctx, o, d)
}

func probe(ctx context.Context, o Options, opener opener) (ProbeResult, error) {
	p, err := opener.open()
	if err != nil {
		return ProbeResult{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	if o.Framing == framingXBee {
		return probeModule(ctx, p, o)
	}
	defer hangUp(p)
	return probeLine(ctx, p, newLine(o).framing)
}

func hangUp(p port) {
	p.Discard()
	_ = p.Close()
}

// probeLine listens.
func probeLine(ctx context.Context, p port, f framing.Framing) (ProbeResult, error) {
	var result ProbeResult
	decoder := f.NewDecoder()
	err := listen(ctx, p, func(octets []byte) bool {
		result.Octets += uint64(len(octets))
		if len(octets) == 0 {
			decoder.Idle()
		}
		decoder.Decode(octets, func([]byte) { result.Frames++ })
		return true
	})
	result.judge(decoder.Errors())
	return result, err
}

// judge tells frames from garbage. By chance a few octets of garbage look like a frame,
// and listening may begin in the middle of one.
func (r *ProbeResult) judge(errors framing.Errors) {
	r.Errors = errors
	bad := errors.Checksum + errors.Malformed + errors.TooLong
	switch {
	case r.Octets == 0:
		r.Heard = Silence
	case r.Frames > 0 && r.Frames >= bad && errors.Noise <= r.Octets/2:
		r.Heard = Frames
	default:
		r.Heard = Garbage
	}
}

// listen hands on what is read, none for a silence, until more says no or ctx is done.
func listen(ctx context.Context, p port, more func(octets []byte) bool) error {
	buffer := make([]byte, 1024)
	for ctx.Err() == nil {
		n, err := p.Read(buffer)
		if err != nil {
			return err
		}
		if !more(buffer[:n]) {
			return nil
		}
	}
	return nil
}

// questions are the settings that a module is asked for. The frame id is the place here,
// counted from 1; no query has an octet that mode 2 would escape.
var questions = [][2]byte{{'A', 'P'}, {'V', 'R'}, {'S', 'H'}, {'S', 'L'}, {'N', 'P'}}

// probeModule asks, and closes the port. A module escapes its answers in mode 2 and not in
// mode 1, so they are read both ways.
func probeModule(ctx context.Context, p port, o Options) (ProbeResult, error) {
	var result ProbeResult
	modes := [2]framing.Decoder{framing.XBee(1).NewDecoder(), framing.XBee(2).NewDecoder()}
	var frames [2]uint64
	var answers [2]answers
	var asking error
	asked := make(chan struct{})
	go func() { // the port may take nothing
		defer close(asked)
		asking = ask(p)
	}()
	err := listen(ctx, p, func(octets []byte) bool {
		result.Octets += uint64(len(octets))
		for i, decoder := range modes {
			if len(octets) == 0 {
				decoder.Idle()
			}
			decoder.Decode(octets, func(packet []byte) {
				frames[i]++
				answers[i].take(packet)
			})
		}
		return !answers[0].complete() && !answers[1].complete()
	})
	if !within(asked, patience) {
		p.Discard() // may end the Write
		err = first(err, errStuck)
	}
	if within(asked, patience) {
		err = first(err, asking)
		hangUp(p)
	} else { // the Write has the port until it ends
		go func() {
			<-asked
			_ = p.Close()
		}()
	}
	best := 0
	if len(answers[1]) > len(answers[0]) || len(answers[1]) == len(answers[0]) && o.APIMode == 2 {
		best = 1
	}
	result.Frames = frames[best]
	result.judge(modes[best].Errors())
	result.Module = answers[best].module()
	return result, err
}

func ask(p port) error {
	var b []byte
	for i, name := range questions {
		b = framing.XBee(1).Append(b, (&xbee.ATCommand{ID: byte(i + 1), Name: name}).Append(nil))
	}
	_, err := p.Write(b)
	return err
}

// answers are values by their name.
type answers map[[2]byte][]byte

func (a *answers) take(packet []byte) {
	frame, err := xbee.Parse(packet)
	if err != nil {
		return
	}
	r, ok := frame.(*xbee.ATResponse)
	if !ok || int(r.ID) < 1 || int(r.ID) > len(questions) || questions[r.ID-1] != r.Name {
		return
	}
	if *a == nil {
		*a = answers{}
	}
	if r.Status != 0 {
		(*a)[r.Name] = nil // it does not know this setting
		return
	}
	(*a)[r.Name] = append([]byte{}, r.Value...)
}

func (a answers) complete() bool { return len(a) == len(questions) }

func (a answers) module() Module {
	m := Module{
		Answers:  len(a) > 0,
		APIMode:  int(a.number("AP")),
		Firmware: uint16(a.number("VR")),
		Address:  a.number("SH")<<32 | a.number("SL"),
	}
	if np := a.number("NP"); np < 255 {
		m.MaxPayload = int(np)
	}
	return m
}

// number is a value of up to 8 octets; 0 if there is none.
func (a answers) number(name string) uint64 {
	value := a[[2]byte([]byte(name))]
	if len(value) > 8 {
		return 0
	}
	var b [8]byte
	copy(b[8-len(value):], value)
	return binary.BigEndian.Uint64(b[:])
}
