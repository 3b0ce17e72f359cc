package serial

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mqttsn-gateway/transports"
)

// Options are the settings of one serial port.
type Options struct {
	// Device is the port: a path such as /dev/ttyUSB0 or, better, one below
	// /dev/serial/by-id, which stays the adapter's own however often it is plugged in;
	// on Windows a name such as COM3. No default.
	Device string `mapstructure:"device"`
	// Baud is the speed of the line in bits per second, 300 to 4000000, with 8 data bits,
	// no parity and one stop bit. Both ends need the same. Default 115200.
	Baud int `mapstructure:"baud"`
	// Framing is how packets are told apart on the line: raw (MQTT-SN's own Length, as
	// the serial bridge of mqtt-sn-tools has it), slip (RFC 1055), cobs, or xbee (the API
	// of Digi's radio modules). Default raw.
	Framing string `mapstructure:"framing"`
	// CRC adds a CRC-16 to every packet of slip and cobs, and refuses what comes without.
	// Both ends need the same. It costs two octets per packet. Without it a line error
	// can change a packet unnoticed. Default false.
	CRC bool `mapstructure:"crc"`
	// APIMode is the mode of an XBee module, its setting AP: 1, or 2, which escapes and
	// so finds the next frame at once after an error. Default 2, which is recommended: in
	// mode 1 noise on the line can hold back frames until it is silent for 300 ms, and a
	// frame with such a pause within is lost. Mode 2 bears pauses of up to a second.
	APIMode int `mapstructure:"api_mode"`
	// XBeeFirmware is which frames an XBee module speaks: zigbee (also DigiMesh), 802.15.4
	// (the first series), or auto, which takes the module for zigbee until it sends a
	// frame of the other kind. Default auto.
	XBeeFirmware string `mapstructure:"xbee_firmware"`
	// MaxPayload is the largest packet sent, in octets, 16 to 1000; longer ones are
	// refused and counted, never fragmented. 0 means 80 for xbee, which every ZigBee
	// network carries in one frame, 255 for raw, and 1000 for slip and cobs. Default 0.
	// More than about 84 makes a ZigBee module fragment, if it can.
	MaxPayload int `mapstructure:"max_payload"`
	// Queue is how many octets may wait to be written, 256 to 1048576; what does not fit
	// is dropped and counted. 0 means two seconds' worth of the line's speed, and at least
	// 2048. Default 0. More waits longer, and a client sends again after T_retry anyway.
	// When it is full, packets that wait for XBee nodes which did not get their last one
	// are dropped first.
	Queue int `mapstructure:"queue"`
	// NodeQueue is how many of them may wait for one XBee node, 128 to 1048576. Default
	// 2048, some 20 packets. A node never has more than a quarter of queue, or room for
	// two packets of max_payload if that is more; one that did not get its last packet has
	// two packets at most. So nodes that are off leave room for the others.
	NodeQueue int `mapstructure:"node_queue"`
	// Window is how many packets an XBee module may have in hand, 1 to 32; there is never
	// more than one for the same node. Default 4. More reaches more nodes at the same time
	// and may overrun the module's buffers, as there is no flow control.
	Window int `mapstructure:"window"`
	// StatusTimeout is how long to wait for an XBee module to say what became of a packet
	// before the next goes to the same node, 100ms to 5m. Default 10s, since ZigBee tries
	// for several seconds to reach a node that sleeps.
	StatusTimeout time.Duration `mapstructure:"status_timeout"`
	// LowLatency asks the adapter's driver to pass on octets at once instead of gathering
	// them for up to 16 ms. Linux only; not every driver can. Default true. It costs more
	// interrupts.
	LowLatency bool `mapstructure:"low_latency"`
	// Required says that the port has to open at start; if false, a gateway whose
	// adapter is not plugged in starts all the same and waits for it. Default true.
	Required bool `mapstructure:"required"`
	// User is the user whose rights the clients on this line have, nodes of radios among
	// them: who is plugged in, or in the radio's network, proves nothing else. Up to 256
	// octets. Default "", an anonymous client.
	User string `mapstructure:"user"`
}

// What Framing and XBeeFirmware may be.
const (
	framingRaw  = "raw"
	framingSLIP = "slip"
	framingCOBS = "cobs"
	framingXBee = "xbee"

	firmwareAuto   = "auto"
	firmwareZigBee = "zigbee"
	firmware802    = "802.15.4"
)

// What MaxPayload 0 and Queue 0 mean.
const (
	rawPayload   = 255 // what fits Length in its short form, the only one that mqtt-sn-tools reads
	xbeePayload  = 80  // ZigBee carries 84 unfragmented, less with encryption or source routes
	maxPayload   = 1000
	queueSeconds = 2
	minQueue     = 2048
)

// DefaultOptions returns the defaults that the fields of Options name.
func DefaultOptions() Options {
	return Options{
		Baud:          115200,
		Framing:       framingRaw,
		APIMode:       2,
		XBeeFirmware:  firmwareAuto,
		NodeQueue:     2048,
		Window:        4,
		StatusTimeout: 10 * time.Second,
		LowLatency:    true,
		Required:      true,
	}
}

// Validate reports the first setting that cannot work: its key, its value and what is
// allowed. The device is not looked at.
func (o Options) Validate() error {
	if o.Device == "" || strings.ContainsRune(o.Device, 0) {
		return fmt.Errorf("device: %q is not allowed: name a port, such as /dev/serial/by-id/usb-FTDI_FT232R-if00-port0 or COM3", o.Device)
	}
	for _, c := range []struct {
		key, value string
		allowed    []string
	}{
		{"framing", o.Framing, []string{framingRaw, framingSLIP, framingCOBS, framingXBee}},
		{"xbee_firmware", o.XBeeFirmware, []string{firmwareAuto, firmwareZigBee, firmware802}},
	} {
		if !slices.Contains(c.allowed, c.value) {
			return fmt.Errorf("%s: %q is not allowed: one of %s", c.key, c.value, strings.Join(c.allowed, ", "))
		}
	}
	for _, r := range []struct {
		key             string
		value, min, max int
		zero            bool // allowed as well
	}{
		{"baud", o.Baud, 300, 4_000_000, false},
		{"api_mode", o.APIMode, 1, 2, false},
		{"max_payload", o.MaxPayload, 16, maxPayload, true},
		{"queue", o.Queue, 256, 1 << 20, true},
		{"node_queue", o.NodeQueue, 128, 1 << 20, false},
		{"window", o.Window, 1, 32, false},
	} {
		if (r.value < r.min || r.value > r.max) && (r.value != 0 || !r.zero) {
			return fmt.Errorf("%s: %d is not allowed: %d to %d", r.key, r.value, r.min, r.max)
		}
	}
	if o.CRC && o.Framing != framingSLIP && o.Framing != framingCOBS {
		return fmt.Errorf("crc: true is not allowed with framing %s: it goes with %s and %s", o.Framing, framingSLIP, framingCOBS)
	}
	if o.StatusTimeout < 100*time.Millisecond || o.StatusTimeout > 5*time.Minute {
		return fmt.Errorf("status_timeout: %v is not allowed: 100ms to 5m", o.StatusTimeout)
	}
	if err := transports.ValidateUser(o.User); err != nil {
		return fmt.Errorf("user: %w", err)
	}
	return nil
}

// payload is the largest packet, MaxPayload 0 resolved.
func (o Options) payload() int {
	switch {
	case o.MaxPayload != 0:
		return o.MaxPayload
	case o.Framing == framingRaw:
		return rawPayload
	case o.Framing == framingXBee:
		return xbeePayload
	default:
		return maxPayload
	}
}

// queue is how many octets may wait, Queue 0 resolved.
func (o Options) queue() int {
	if o.Queue != 0 {
		return o.Queue
	}
	return max(minQueue, queueSeconds*o.rate())
}

// rate is what the line carries, in octets per second: a start and a stop bit go with
// every eight.
func (o Options) rate() int { return o.Baud / 10 }
