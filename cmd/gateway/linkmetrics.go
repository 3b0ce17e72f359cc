package main

import (
	"mqttsn-gateway/gateway/admin"
	"mqttsn-gateway/transports/dtls"
	"mqttsn-gateway/transports/serial"
	"mqttsn-gateway/transports/udp"
)

// What links count themselves. What the gateway counts of them is in its own metrics.
const (
	linkDrops         = "mqttsn_gateway_link_drops_total"
	linkReceive       = "mqttsn_gateway_link_receive_buffer_bytes"
	linkGroups        = "mqttsn_gateway_link_groups"
	linkGroupFailures = "mqttsn_gateway_link_group_failures_total"
	dtlsConnections   = "mqttsn_gateway_dtls_connections"
	dtlsHandshaking   = "mqttsn_gateway_dtls_handshakes_pending"
	dtlsHandshakes    = "mqttsn_gateway_dtls_handshakes_total"
	dtlsClosed        = "mqttsn_gateway_dtls_connections_closed_total"
	dtlsResumed       = "mqttsn_gateway_dtls_handshakes_resumed_total"
	dtlsSessions      = "mqttsn_gateway_dtls_sessions"
	dtlsMoved         = "mqttsn_gateway_dtls_address_changes_total"
	dtlsCookies       = "mqttsn_gateway_dtls_cookies_total"
	serialUp          = "mqttsn_gateway_serial_up"
	serialReopened    = "mqttsn_gateway_serial_reopened_total"
	serialDatagrams   = "mqttsn_gateway_serial_datagrams_total"
	serialOctets      = "mqttsn_gateway_serial_bytes_total"
	serialNoise       = "mqttsn_gateway_serial_noise_bytes_total"
	serialQueued      = "mqttsn_gateway_serial_queue_bytes"
	serialTransmit    = "mqttsn_gateway_serial_transmit_failures_total"
	serialSignal      = "mqttsn_gateway_serial_signal_dbm"
	serialModem       = "mqttsn_gateway_serial_modem_events_total"
	serialDeliveries  = "mqttsn_gateway_serial_delivered_total"
)

// linkMetrics is what the links of all kinds count.
func linkMetrics(links *linkSet) admin.Source {
	return admin.Source{
		Families: []admin.Family{
			{Name: linkDrops, Help: "Datagrams that a link dropped, by reason.", Kind: admin.Counter, Labels: []string{"link", "reason"}},
			{Name: linkReceive, Help: "Receive buffer that the system granted a link.", Kind: admin.Gauge, Labels: []string{"link"}},
			{Name: linkGroups, Help: "Multicast groups that a UDP link hears, each interface counted.", Kind: admin.Gauge, Labels: []string{"link"}},
			{Name: linkGroupFailures, Help: "Attempts to join a multicast group on an interface that failed.", Kind: admin.Counter, Labels: []string{"link"}},
			{Name: dtlsConnections, Help: "DTLS connections.", Kind: admin.Gauge, Labels: []string{"link"}},
			{Name: dtlsHandshaking, Help: "DTLS handshakes under way.", Kind: admin.Gauge, Labels: []string{"link"}},
			{Name: dtlsHandshakes, Help: "DTLS handshakes that have ended, by result.", Kind: admin.Counter, Labels: []string{"link", "result"}},
			{Name: dtlsClosed, Help: "DTLS connections that have ended, by reason.", Kind: admin.Counter, Labels: []string{"link", "reason"}},
			{Name: dtlsResumed, Help: "DTLS handshakes that took up a session and so were shorter.", Kind: admin.Counter, Labels: []string{"link"}},
			{Name: dtlsSessions, Help: "DTLS sessions kept for clients that come again, of all links.", Kind: admin.Gauge},
			{Name: dtlsMoved, Help: "Changes of address that DTLS connections have survived by their connection id.", Kind: admin.Counter, Labels: []string{"link"}},
			{Name: dtlsCookies, Help: "Cookies sent to new addresses, and those that came back but were not valid.", Kind: admin.Counter, Labels: []string{"link", "kind"}},
			{Name: serialUp, Help: "1 while the port is open, else 0.", Kind: admin.Gauge, Labels: []string{"link"}},
			{Name: serialReopened, Help: "How often a port was opened again after it was lost.", Kind: admin.Counter, Labels: []string{"link"}},
			{Name: serialDatagrams, Help: "MQTT-SN packets over a serial port.", Kind: admin.Counter, Labels: []string{"link", "direction"}},
			{Name: serialOctets, Help: "Octets over a serial port, framing included.", Kind: admin.Counter, Labels: []string{"link", "direction"}},
			{Name: serialNoise, Help: "Octets received outside any frame.", Kind: admin.Counter, Labels: []string{"link"}},
			{Name: serialQueued, Help: "Octets that wait to be written to a serial port.", Kind: admin.Gauge, Labels: []string{"link"}},
			{Name: serialDeliveries, Help: "Packets that an XBee module has reported to have reached their node.", Kind: admin.Counter, Labels: []string{"link"}},
			{Name: serialTransmit, Help: "Packets that an XBee module could not deliver, by its reason.", Kind: admin.Counter, Labels: []string{"link", "reason"}},
			{Name: serialModem, Help: "Events that an XBee module has reported of itself, such as a reset.", Kind: admin.Counter, Labels: []string{"link"}},
			{Name: serialSignal, Help: "Strength of the packet that a radio module received last; 0 if it does not tell.", Kind: admin.Gauge, Labels: []string{"link"}},
		},
		Collect: func(emit admin.Emit) {
			for _, l := range links.udp {
				emitUDP(l, emit)
			}
			if links.trust != nil {
				emit(dtlsSessions, float64(links.trust.Sessions()))
			}
			for _, l := range links.dtls {
				emitUDP(l.below, emit)
				emitDTLS(l.Name(), l.Stats(), emit)
			}
			for _, l := range links.serial {
				emitSerial(l.Name(), l.Stats(), emit)
			}
		},
	}
}

func emitUDP(l *udp.Link, emit admin.Emit) {
	d, g := l.Drops(), l.Groups()
	emit(linkDrops, float64(d.Truncated), l.Name(), "truncated")
	emit(linkDrops, float64(d.Oversize), l.Name(), "oversize")
	emit(linkDrops, float64(d.Unsendable), l.Name(), "unsendable")
	emit(linkReceive, float64(l.ReceiveBuffer()), l.Name())
	emit(linkGroups, float64(g.Joined), l.Name())
	emit(linkGroupFailures, float64(g.Failures), l.Name())
}

func emitDTLS(link string, s dtls.Stats, emit admin.Emit) {
	emit(dtlsConnections, float64(s.Connections), link)
	emit(dtlsHandshaking, float64(s.Handshaking), link)
	emit(dtlsResumed, float64(s.Resumed), link)
	emit(dtlsMoved, float64(s.Moved), link)
	emit(dtlsCookies, float64(s.CookiesSent), link, "sent")
	emit(dtlsCookies, float64(s.CookiesBad), link, "invalid")
	f, c, d := s.Failed, s.Closed, s.Drops
	for _, labelled := range []struct {
		family, label string
		value         uint64
	}{
		{dtlsHandshakes, "accepted", s.Handshakes}, {dtlsHandshakes, "wrong_key", f.WrongKey},
		{dtlsHandshakes, "unknown_identity", f.UnknownIdentity}, {dtlsHandshakes, "lookup", f.Lookup}, {dtlsHandshakes, "no_cipher_suite", f.NoCipherSuite},
		{dtlsHandshakes, "version", f.Version}, {dtlsHandshakes, "certificate", f.Certificate}, {dtlsHandshakes, "refused", f.Refused},
		{dtlsHandshakes, "timeout", f.Timeout}, {dtlsHandshakes, "replaced", f.Replaced}, {dtlsHandshakes, "full", f.Full}, {dtlsHandshakes, "identity_rate", f.IdentityRate},
		{dtlsHandshakes, "other", f.Other},
		{dtlsClosed, "peer", c.Peer}, {dtlsClosed, "idle", c.Idle}, {dtlsClosed, "replaced", c.Replaced}, {dtlsClosed, "evicted", c.Evicted},
		{dtlsClosed, "removed", c.Removed}, {dtlsClosed, "identity_limit", c.Crowded},
		{linkDrops, "malformed", d.Malformed}, {linkDrops, "fragmented", d.Fragmented},
		{linkDrops, "unknown_peer", d.UnknownPeer}, {linkDrops, "unknown_id", d.UnknownID}, {linkDrops, "hello_rate", d.HelloRate},
		{linkDrops, "handshake_limit", d.HandshakeLimit}, {linkDrops, "prefix_limit", d.PrefixLimit}, {linkDrops, "failure_rate", d.FailureRate}, {linkDrops, "duplicate", d.Duplicate},
		{linkDrops, "unencrypted", d.Unencrypted}, {linkDrops, "backlog", d.Backlog}, {linkDrops, "queue_full", d.Queue},
		{linkDrops, "oversize", d.Oversize}, {linkDrops, "unsendable", d.Unsendable}, {linkDrops, "busy", d.Busy},
		{linkDrops, "unproven", d.Unproven},
	} {
		emit(labelled.family, float64(labelled.value), link, labelled.label)
	}
}

func emitSerial(link string, s serial.Stats, emit admin.Emit) {
	up := 0.0
	if s.Up {
		up = 1
	}
	emit(serialUp, up, link)
	emit(serialReopened, float64(s.Reopened), link)
	emit(serialDatagrams, float64(s.Received), link, "received")
	emit(serialDatagrams, float64(s.Sent), link, "sent")
	emit(serialOctets, float64(s.ReceivedOctets), link, "received")
	emit(serialOctets, float64(s.SentOctets), link, "sent")
	emit(serialNoise, float64(s.Noise), link)
	emit(serialQueued, float64(s.Queued), link)
	emit(serialDeliveries, float64(s.Delivered), link)
	emit(serialModem, float64(s.Modem), link)
	emit(serialSignal, float64(s.Signal), link)
	for reason, n := range s.Drops {
		emit(linkDrops, float64(n), link, reason)
	}
	emit(serialTransmit, 0, link, "none") // there from the first scrape on
	for reason, n := range s.TransmitFailed {
		emit(serialTransmit, float64(n), link, reason)
	}
}
