package serial

import (
	"errors"
	"log/slog"

	"go.bug.st/serial"

	"mqttsn-gateway/transports/serial/framing"
)

// port is an open line. One goroutine reads and closes, another writes; nothing is called
// after Close. Tests have ports of their own.
type port interface {
	// Read returns the octets that have arrived, or 0 and nil after framing.Gap without any.
	Read(b []byte) (int, error)
	// Write may block for as long as the driver takes no octets.
	Write(b []byte) (int, error)
	// Unsent is how many octets the driver holds; 0 if it does not tell.
	Unsent() int
	// Discard drops what the driver holds, which may end a Write that blocks, and keeps
	// Close from waiting for the line.
	Discard()
	Close() error
}

// opener opens a device. The device keeps what it needs from one opening to the next.
type opener interface {
	open() (port, error)
	// present reports whether the device is there, as far as that can be told.
	present() bool
	// end gives up what is kept.
	end()
}

// device opens a serial port of this machine.
type device struct {
	o        Options
	log      *slog.Logger
	reserved descriptors
}

func newDevice(o Options, log *slog.Logger) *device {
	d := &device{o: o, log: log}
	d.reserved.take()
	return d
}

func (d *device) end() { d.reserved.end() }

func (d *device) present() bool { return exists(d.o.Device) }

// open opens the port for this process alone. Octets that came before are dropped: they
// are what was left over and what raising DTR and RTS made the other side say.
func (d *device) open() (port, error) {
	d.reserved.release()
	p, err := d.claim()
	if err != nil {
		d.reserved.take()
		return nil, err
	}
	if d.o.LowLatency {
		if err := p.lock.lowLatency(d.o.Device); err != nil {
			d.log.Debug("no low latency", "error", err)
		}
	}
	return p, nil
}

func (d *device) claim() (*claimed, error) {
	lock, err := lockDevice(d.o.Device)
	if err != nil {
		return nil, err
	}
	p, err := serial.Open(d.o.Device, &serial.Mode{BaudRate: d.o.Baud})
	if err != nil {
		lock.release()
		return nil, openError(err)
	}
	c := &claimed{Port: p, lock: lock, device: d}
	if err := c.prepare(); err != nil {
		_ = c.Close()
		return nil, openError(err)
	}
	return c, nil
}

// claimed is a port of the library that this process has for itself.
type claimed struct {
	serial.Port
	lock   lock
	device *device
	early  []byte // read while the port was tried
}

// prepare makes the first Read here, since it is the one that panics if the port's
// descriptor is too large for the library; later ones have the same descriptor.
func (c *claimed) prepare() (err error) {
	if err := c.ResetInputBuffer(); err != nil {
		return err
	}
	if err := c.SetReadTimeout(0); err != nil {
		return err
	}
	defer func() {
		if recover() != nil {
			err = ErrDescriptors
		}
	}()
	b := make([]byte, 1024) // not empty: the library takes nothing read into nothing for the end
	n, err := c.Port.Read(b)
	if err != nil {
		return err
	}
	c.early = b[:n]
	return c.SetReadTimeout(framing.Gap)
}

func (c *claimed) Read(b []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(b, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	n, err := c.Port.Read(b)
	var failed *serial.PortError
	if errors.As(err, &failed) && failed.Code() == serial.PortClosed {
		return n, errUnplugged // nobody closes it while it is read
	}
	return n, err
}

func (c *claimed) Unsent() int { return c.lock.unsent() }

func (c *claimed) Discard() { _ = c.ResetOutputBuffer() }

// Close frees the device. The descriptors that become free are kept for the next time.
func (c *claimed) Close() error {
	err := c.Port.Close()
	c.lock.release()
	c.device.reserved.take()
	return err
}
