package main

import (
	"fmt"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/upstream"
	"mqttsn-gateway/gateway/admin"
)

// metric is a family without labels and how to get its value from a snapshot of type S.
// Families with labels are reported by hand.
type metric[S any] struct {
	admin.Family
	value func(S) float64
}

// families is what a table describes.
func families[S any](table []metric[S]) []admin.Family {
	all := make([]admin.Family, len(table))
	for i, m := range table {
		all[i] = m.Family
	}
	return all
}

func emitAll[S any](table []metric[S], s S, emit admin.Emit) {
	for _, m := range table {
		emit(m.Name, m.value(s))
	}
}

func counter[S any](name, help string, value func(S) uint64) metric[S] {
	return metric[S]{admin.Family{Name: name, Help: help, Kind: admin.Counter}, func(s S) float64 { return float64(value(s)) }}
}

func gauge[S any](name, help string, value func(S) int) metric[S] {
	return metric[S]{admin.Family{Name: name, Help: help, Kind: admin.Gauge}, func(s S) float64 { return float64(value(s)) }}
}

var upstreamTable = []metric[upstream.Stats]{
	gauge("mqttsn_gateway_upstream_up", "1 while the broker answers, else 0.", func(s upstream.Stats) int {
		if s.Up {
			return 1
		}
		return 0
	}),
	gauge("mqttsn_gateway_upstream_requests_pending", "Requests that wait for the broker's answer.", func(s upstream.Stats) int { return s.Pending }),
	gauge("mqttsn_gateway_upstream_messages_unacknowledged", "Messages of the broker that wait for a client's acknowledgement.", func(s upstream.Stats) int { return s.Unacked }),
	counter("mqttsn_gateway_upstream_connects_total", "Connections of clients that the broker accepted.", func(s upstream.Stats) uint64 { return s.Connects }),
	counter("mqttsn_gateway_upstream_reconnects_total", "Lost connections that were made again.", func(s upstream.Stats) uint64 { return s.Reconnects }),
	counter("mqttsn_gateway_upstream_connections_lost_total", "Connections that ended without the gateway's doing.", func(s upstream.Stats) uint64 { return s.ConnectionsLost }),
	counter("mqttsn_gateway_upstream_sessions_lost_total", "Reconnects that did not find the session again.", func(s upstream.Stats) uint64 { return s.SessionsLost }),
	counter("mqttsn_gateway_upstream_takeovers_total", "Clients that connected to the broker elsewhere.", func(s upstream.Stats) uint64 { return s.TakenOver }),
	counter("mqttsn_gateway_upstream_messages_published_total", "Messages sent to the broker, each counted once.", func(s upstream.Stats) uint64 { return s.Published }),
	counter("mqttsn_gateway_upstream_messages_answered_total", "QoS 1 and 2 messages that the broker has taken.", func(s upstream.Stats) uint64 { return s.Answered }),
	counter("mqttsn_gateway_upstream_messages_uncertain_total", "QoS 2 messages of which nobody knows whether the broker passed them on.", func(s upstream.Stats) uint64 { return s.Uncertain }),
	counter("mqttsn_gateway_upstream_messages_lost_total", "QoS 0 messages that a lost connection took with it.", func(s upstream.Stats) uint64 { return s.LostQoS0 }),
	counter("mqttsn_gateway_upstream_messages_delivered_total", "Messages of the broker passed on to clients.", func(s upstream.Stats) uint64 { return s.Delivered }),
	counter("mqttsn_gateway_upstream_messages_repeated_total", "Messages that the broker sent again and that were not passed on again.", func(s upstream.Stats) uint64 { return s.Repeated }),
	counter("mqttsn_gateway_upstream_messages_malformed_total", "Messages of the broker with a topic that is none, refused.", func(s upstream.Stats) uint64 { return s.Malformed }),
	gauge("mqttsn_gateway_upstream_spooled", "Messages in the store that wait to be published at the broker.", func(s upstream.Stats) int { return s.SpooledNow }),
	gauge("mqttsn_gateway_upstream_spooled_octets", "Octets of those messages.", func(s upstream.Stats) int { return s.SpooledOctets }),
	gauge("mqttsn_gateway_upstream_spooled_age_seconds", "Age of the oldest of those messages, or a bit more; 0 if there is none.", func(s upstream.Stats) int {
		if s.Oldest.IsZero() {
			return 0
		}
		return max(0, int(time.Since(s.Oldest).Seconds()))
	}),
	counter("mqttsn_gateway_upstream_messages_spooled_total", "Messages of clients taken into the store for the broker.", func(s upstream.Stats) uint64 { return s.Spooled }),
	counter("mqttsn_gateway_upstream_messages_drained_total", "Messages that the broker has taken from the store.", func(s upstream.Stats) uint64 { return s.Drained }),
	counter("mqttsn_gateway_upstream_messages_expired_total", "Messages dropped from the store because they were older than max_message_age.", func(s upstream.Stats) uint64 { return s.SpoolExpired }),
	gauge("mqttsn_gateway_upstream_dead_letters", "Messages refused by the broker for good that are kept in the store.", func(s upstream.Stats) int { return s.DeadLettersNow }),
	counter("mqttsn_gateway_upstream_dead_letters_total", "Messages in the store that the broker has refused for good.", func(s upstream.Stats) uint64 { return s.DeadLetters }),
	gauge("mqttsn_gateway_upstream_kept", "Messages of the broker in the store that wait for connected clients.", func(s upstream.Stats) int { return s.KeptNow }),
	counter("mqttsn_gateway_upstream_messages_kept_total", "Messages of the broker that were put into the store.", func(s upstream.Stats) uint64 { return s.Kept }),
	counter("mqttsn_gateway_upstream_kept_expired_total", "Messages of the broker that have expired in the store.", func(s upstream.Stats) uint64 { return s.KeptExpired }),
	counter("mqttsn_gateway_upstream_records_damaged_total", "Records in the store that cannot be understood; they are left there.", func(s upstream.Stats) uint64 { return s.Damaged }),
	counter("mqttsn_gateway_upstream_wills_total", "Wills that were to be published for lost clients.", func(s upstream.Stats) uint64 { return s.Wills }),
	counter("mqttsn_gateway_upstream_wills_lost_total", "Wills that could not be published in time.", func(s upstream.Stats) uint64 { return s.WillsLost }),
}

// upstreamMetrics is what the way to a broker elsewhere counts.
func upstreamMetrics(b *upstream.Broker) admin.Source {
	const (
		clients  = "mqttsn_gateway_upstream_clients"
		failures = "mqttsn_gateway_upstream_failures_total"
		refused  = "mqttsn_gateway_upstream_refused_total"
	)
	return admin.Source{
		Families: append(families(upstreamTable),
			admin.Family{Name: clients, Help: "Clients by state of their connection to the broker.", Kind: admin.Gauge, Labels: []string{"state"}},
			admin.Family{Name: failures, Help: "Requests that the broker or the way to it refused, by MQTT 5 reason code.", Kind: admin.Counter, Labels: []string{"code"}},
			admin.Family{Name: refused, Help: "Connections to the broker that could not be made, by reason: what is wrong with TLS or WebSocket, or with what a device has to present.", Kind: admin.Counter, Labels: []string{"reason"}}),
		Collect: func(emit admin.Emit) {
			st := b.Stats()
			emitAll(upstreamTable, st, emit)
			emit(clients, float64(st.Connected), "connected")
			emit(clients, float64(st.Connecting), "connecting")
			emit(clients, float64(st.Reconnecting), "reconnecting")
			emit(clients, float64(st.Leaving), "leaving")
			st.Failed[broker.CodeUnspecified] += 0 // there from the first scrape on
			for code, n := range st.Failed {
				emit(failures, float64(n), fmt.Sprintf("0x%02X", byte(code)))
			}
			st.Refused["not_authorized"] += 0
			for reason, n := range st.Refused {
				emit(refused, float64(n), reason)
			}
		},
	}
}
