package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"mqttsn-gateway/config"
	"mqttsn-gateway/gateway/doctor"
	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/dtls"
	"mqttsn-gateway/transports/serial"
	"mqttsn-gateway/transports/udp"
)

// linkSet is the links on which clients reach the gateway, all of them and by kind.
type linkSet struct {
	all    []transports.Link
	udp    []*udp.Link
	dtls   []*dtlsLink
	serial []*serial.Link
	trust  *dtls.Credentials // of all DTLS links; nil without any
}

// openLinks opens what the configuration asks for, all or nothing. Serial ports come
// first: a descriptor that they get is low then, which their library needs.
func openLinks(c config.Config, log *slog.Logger) (*linkSet, error) {
	s := new(linkSet)
	for _, open := range []func(config.Config, *slog.Logger) error{s.openSerial, s.openUDP, s.openDTLS} {
		if err := open(c, log); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

func (s *linkSet) openSerial(c config.Config, log *slog.Logger) error {
	for i, o := range c.Serial {
		l, err := serial.Open(o, log, doctor.SerialPort)
		if err != nil {
			return fmt.Errorf("serial.%d: %w", i, err)
		}
		s.serial, s.all = append(s.serial, l), append(s.all, l)
	}
	return nil
}

func (s *linkSet) openUDP(c config.Config, log *slog.Logger) error {
	for i, o := range c.UDP {
		l, err := udp.Listen(o)
		if err != nil {
			return fmt.Errorf("udp.%d: %w", i, doctor.UDPPort(o.Listen, err))
		}
		l.LogTo(log)
		s.udp, s.all = append(s.udp, l), append(s.all, l)
	}
	return nil
}

func (s *linkSet) openDTLS(c config.Config, log *slog.Logger) error {
	if len(c.DTLS.Listeners) == 0 {
		return nil
	}
	trust, err := dtls.LoadCredentials(c.DTLS, log)
	if err != nil {
		return fmt.Errorf("dtls: %w", err)
	}
	s.trust = trust
	for _, address := range c.DTLS.Listeners {
		l, err := listenDTLS(address, c.DTLS, trust, log)
		if err != nil {
			return fmt.Errorf("dtls: %w", doctor.UDPPort(address, err))
		}
		s.dtls, s.all = append(s.dtls, l), append(s.all, l.Link)
	}
	return nil
}

// dtlsLink is a DTLS link and the UDP link below, which it closes.
type dtlsLink struct {
	*dtls.Link
	below *udp.Link
}

func listenDTLS(address string, o dtls.Options, trust *dtls.Credentials, log *slog.Logger) (*dtlsLink, error) {
	under := udp.DefaultOptions()
	under.Listen, under.MTU, under.ReceiveBuffer = address, dtls.MaxDatagram, o.ReceiveBuffer
	under.Batch = 16 // of datagrams so long
	below, err := udp.Listen(under)
	if err != nil {
		return nil, err
	}
	l, err := dtls.Over(below, o, trust, log)
	if err != nil {
		return nil, errors.Join(err, below.Close())
	}
	return &dtlsLink{l, below}, nil
}

func (s *linkSet) close() error {
	var err error
	for _, l := range s.all {
		err = errors.Join(err, l.Close())
	}
	return err
}

// local reports whether nobody beyond this host, and what is plugged into it, can reach
// a link; plain whether somebody beyond it can reach one without encryption.
func (s *linkSet) local() (local, plain bool) {
	beyond := func(a netip.AddrPort) bool { return !a.Addr().IsLoopback() }
	for _, l := range s.udp {
		plain = plain || beyond(l.Addr())
	}
	local = !plain
	for _, l := range s.dtls {
		local = local && !beyond(l.below.Addr())
	}
	return local, plain
}
