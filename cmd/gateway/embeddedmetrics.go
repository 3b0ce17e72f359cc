package main

import (
	"strconv"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/gateway/admin"
)

// What the embedded broker has once.
var embeddedTable = []metric[embedded.Stats]{
	gauge("mqttsn_gateway_embedded_connections", "Connections of MQTT clients to the embedded broker.", func(s embedded.Stats) int { return s.Connections }),
	gauge("mqttsn_gateway_embedded_connections_pending", "Connections of MQTT clients that have not sent their CONNECT yet.", func(s embedded.Stats) int { return s.Pending }),
	counter("mqttsn_gateway_embedded_connections_total", "Connections of MQTT clients that were let in.", func(s embedded.Stats) uint64 { return s.Accepted }),
	counter("mqttsn_gateway_embedded_connects_total", "CONNECT packets of MQTT clients and connects of MQTT-SN clients.", func(s embedded.Stats) uint64 { return s.Connects }),
	counter("mqttsn_gateway_embedded_takeovers_total", "Clients that connected while their earlier connection was still there.", func(s embedded.Stats) uint64 { return s.Takeovers }),
	gauge("mqttsn_gateway_embedded_devices", "MQTT-SN clients that are connected to the embedded broker.", func(s embedded.Stats) int { return s.Devices }),
	gauge("mqttsn_gateway_embedded_clients", "Clients that are connected to their session, MQTT-SN clients included.", func(s embedded.Stats) int { return s.Connected }),
	gauge("mqttsn_gateway_embedded_clients_max", "Most clients that were connected at a time.", func(s embedded.Stats) int { return s.MaxConnected }),
	gauge("mqttsn_gateway_embedded_sessions", "Sessions, those of clients that are away included.", func(s embedded.Stats) int { return s.Sessions }),
	gauge("mqttsn_gateway_embedded_session_bytes", "Octets that sessions cost in memory, about, without their queues: client ids, subscriptions, wills.", func(s embedded.Stats) int { return s.SessionBytes }),
	counter("mqttsn_gateway_embedded_sessions_expired_total", "Sessions that ended because their client stayed away for too long.", func(s embedded.Stats) uint64 { return s.Expired }),
	gauge("mqttsn_gateway_embedded_subscriptions", "Subscriptions of all sessions.", func(s embedded.Stats) int { return s.Subscriptions }),
	gauge("mqttsn_gateway_embedded_subscriptions_shared", "Shared subscriptions of all sessions.", func(s embedded.Stats) int { return s.SharedSubscriptions }),
	gauge("mqttsn_gateway_embedded_retained_messages", "Messages that are retained.", func(s embedded.Stats) int { return s.RetainedMessages }),
	gauge("mqttsn_gateway_embedded_retained_bytes", "Octets of topics, payloads and properties of the messages that are retained: what mqtt.max_retained_bytes counts but for the levels of topics.", func(s embedded.Stats) int { return s.RetainedBytes }),
	gauge("mqttsn_gateway_embedded_queue_messages", "Messages with QoS 1 and 2 that wait for clients or for their acknowledgement, counted for each client.", func(s embedded.Stats) int { return s.QueuedMessages }),
	counter("mqttsn_gateway_embedded_restored_messages_total", "Messages that were found in the state directory at the start, waiting for clients that had not been sent them, counted for each client.", func(s embedded.Stats) uint64 { return s.Restored }),
	gauge("mqttsn_gateway_embedded_queue_bytes", "Octets of topics, payloads and properties of the messages that wait, counted for each client.", func(s embedded.Stats) int { return s.QueuedBytes }),
	gauge("mqttsn_gateway_embedded_held_bytes", "Memory, about, of what waits for all clients together: mqtt.max_queued_bytes_total bounds it.", func(s embedded.Stats) int { return s.HeldBytes }),
	gauge("mqttsn_gateway_embedded_delayed_packets", "Packets on their way to MQTT clients that do not take them as fast as they come.", func(s embedded.Stats) int { return s.DelayedPackets }),
	gauge("mqttsn_gateway_embedded_delayed_bytes", "Octets on their way to MQTT clients that do not take them as fast as they come.", func(s embedded.Stats) int { return s.DelayedBytes }),
}

// And what it has in several kinds.
const (
	embeddedBytes           = "mqttsn_gateway_embedded_bytes_total"
	embeddedPackets         = "mqttsn_gateway_embedded_packets_total"
	embeddedMessages        = "mqttsn_gateway_embedded_messages_total"
	embeddedPayload         = "mqttsn_gateway_embedded_message_bytes_total"
	embeddedDrops           = "mqttsn_gateway_embedded_drops_total"
	embeddedRefused         = "mqttsn_gateway_embedded_connections_refused_total"
	embeddedSlowed          = "mqttsn_gateway_embedded_slowed_total"
	embeddedDenied          = "mqttsn_gateway_embedded_requests_refused_total"
	embeddedRefusedConnects = "mqttsn_gateway_embedded_connects_refused_total"
	embeddedDisconnects     = "mqttsn_gateway_embedded_disconnects_total"
	embeddedHandshakes      = "mqttsn_gateway_embedded_handshakes_failed_total"
)

var embeddedFamilies = []admin.Family{
	{Name: embeddedBytes, Help: "Octets received from MQTT clients and sent to them.", Kind: admin.Counter, Labels: []string{"direction"}},
	{Name: embeddedPackets, Help: "MQTT packets received from MQTT clients and sent to them.", Kind: admin.Counter, Labels: []string{"direction"}},
	{Name: embeddedMessages, Help: "Messages taken from publishers and handed to subscribers, each counted once.", Kind: admin.Counter, Labels: []string{"direction", "qos"}},
	{Name: embeddedPayload, Help: "Payload octets of the messages taken from publishers and handed to subscribers.", Kind: admin.Counter, Labels: []string{"direction"}},
	{Name: embeddedRefused, Help: "Connections of MQTT clients refused or ended because a limit was reached, by the limit's option.", Kind: admin.Counter, Labels: []string{"limit"}},
	{Name: embeddedSlowed, Help: "Times that MQTT clients had to wait because a limit was reached, by the limit's option.", Kind: admin.Counter, Labels: []string{"limit"}},
	{Name: embeddedDrops, Help: "Messages that did not reach a subscriber or were not taken from a publisher, by reason.", Kind: admin.Counter, Labels: []string{"reason"}},
	{Name: embeddedDenied, Help: "Requests of clients, such as subscriptions, that were refused because a limit was reached, by the limit's option.", Kind: admin.Counter, Labels: []string{"limit"}},
	{Name: embeddedRefusedConnects, Help: "CONNECT packets of MQTT clients that were refused, by the name of the MQTT 5 reason code.", Kind: admin.Counter, Labels: []string{"reason"}},
	{Name: embeddedDisconnects, Help: "Ends of connections of MQTT clients but for refused CONNECTs, by the name of the MQTT 5 reason code, or what else ended them.", Kind: admin.Counter, Labels: []string{"reason"}},
	{Name: embeddedHandshakes, Help: "Connections of MQTT clients that ended before MQTT was spoken, by the reason: TLS or WebSocket at the wrong listener or not as it has to be, or a certificate.", Kind: admin.Counter, Labels: []string{"reason"}},
}

// embeddedMetrics is what the embedded broker counts.
func embeddedMetrics(b *embedded.Broker) admin.Source {
	return admin.Source{
		Families: append(families(embeddedTable), embeddedFamilies...),
		Collect:  func(emit admin.Emit) { emitEmbedded(b.Stats(), emit) },
	}
}

func emitEmbedded(st embedded.Stats, emit admin.Emit) {
	emitAll(embeddedTable, st, emit)
	both := func(family string, received, sent uint64) {
		emit(family, float64(received), "received")
		emit(family, float64(sent), "sent")
	}
	both(embeddedBytes, st.BytesReceived, st.BytesSent)
	both(embeddedPackets, st.PacketsReceived, st.PacketsSent)
	both(embeddedPayload, st.ReceivedBytes, st.SentBytes)
	for qos := range st.Received {
		emit(embeddedMessages, float64(st.Received[qos]), "received", strconv.Itoa(qos))
		emit(embeddedMessages, float64(st.Sent[qos]), "sent", strconv.Itoa(qos))
	}
	for family, counts := range map[string]map[string]uint64{
		embeddedDrops: st.Dropped, embeddedRefused: st.Refused, embeddedSlowed: st.Slowed, embeddedDenied: st.Denied,
		embeddedRefusedConnects: st.RefusedConnects, embeddedDisconnects: st.Disconnects,
		embeddedHandshakes: st.Handshakes,
	} {
		for label, n := range counts {
			emit(family, float64(n), label)
		}
	}
}
