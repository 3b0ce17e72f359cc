package admin

import (
	"runtime"
	"runtime/debug"
)

// gatewaySource is what the gateway counts itself.
func gatewaySource(g Gateway) Source {
	const (
		packets         = "mqttsn_gateway_packets_total"
		drops           = "mqttsn_gateway_drops_total"
		messages        = "mqttsn_gateway_messages_total"
		takeovers       = "mqttsn_gateway_takeovers_total"
		retransmissions = "mqttsn_gateway_retransmissions_total"
		unproven        = "mqttsn_gateway_unproven_deliveries_total"
		probes          = "mqttsn_gateway_probes_total"
		sessions        = "mqttsn_gateway_sessions"
		queueMessages   = "mqttsn_gateway_queue_messages"
		queueBytes      = "mqttsn_gateway_queue_bytes"
		unanswered      = "mqttsn_gateway_broker_requests_unanswered"
		socketDrops     = "mqttsn_gateway_socket_drops_total"
		ready           = "mqttsn_gateway_ready"
		heldPackets     = "mqttsn_gateway_held_packets"
		heldBytes       = "mqttsn_gateway_held_bytes"
		restored        = "mqttsn_gateway_sessions_restored"
		storeLevel      = "mqttsn_gateway_store_level"
	)
	return Source{
		Families: []Family{
			{packets, "MQTT-SN packets received from clients and sent to them, by message type.", Counter, []string{"direction", "type"}},
			{drops, "Packets and messages that went no further, by reason.", Counter, []string{"reason"}},
			{messages, "Messages of the broker for clients: received = delivered + returned (the broker's again) + dropped + mqttsn_gateway_queue_messages.", Counter, []string{"fate"}},
			{retransmissions, "Packets sent again to clients because no answer came in time.", Counter, nil},
			{takeovers, "Clients that went on from another address while their session was alive, and have not proven who they are.", Counter, nil},
			{unproven, "Messages that had to wait until their client had proven that it is at its address (session.max_amplification).", Counter, nil},
			{probes, "Packets that asked a client on plain UDP to prove that it is at its address.", Counter, nil},
			{sessions, "Sessions by state of the client.", Gauge, []string{"state"}},
			{queueMessages, "Messages that wait in the gateway for clients.", Gauge, nil},
			{queueBytes, "Topic and payload octets of the messages that wait in the gateway for clients.", Gauge, nil},
			{unanswered, "Requests of clients that the broker has not answered yet.", Gauge, nil},
			{socketDrops, "Datagrams lost before they were read, for want of socket buffer, by link.", Counter, []string{"link"}},
			{ready, "1 while clients can be served, else 0.", Gauge, nil},
			{heldPackets, "Packets for clients that wait until what they promise is kept on disk.", Gauge, nil},
			{heldBytes, "Octets of the packets for clients that wait until what they promise is kept on disk.", Gauge, nil},
			{restored, "Sessions that the state directory had when the gateway was started.", Gauge, nil},
			{storeLevel, "How full the store is: 0 normal, 1 warning, 2 crowded (new clients are refused), 3 full (new messages are refused), 4 degraded (the disk is full or fails).", Gauge, nil},
		},
		Collect: func(emit Emit) {
			st := g.Stats()
			for name, n := range st.Received {
				emit(packets, float64(n), "received", name)
			}
			for name, n := range st.Sent {
				emit(packets, float64(n), "sent", name)
			}
			for reason, n := range st.Dropped {
				emit(drops, float64(n), reason)
			}
			for state, n := range st.Sessions {
				emit(sessions, float64(n), state)
			}
			for link, n := range st.SocketDrops {
				emit(socketDrops, float64(n), link)
			}
			for fate, n := range map[string]uint64{
				"received": st.Messages.Received, "delivered": st.Messages.Delivered,
				"returned": st.Messages.Returned, "dropped": st.Messages.Dropped,
			} {
				emit(messages, float64(n), fate)
			}
			emit(retransmissions, float64(st.Retransmissions))
			emit(takeovers, float64(st.Takeovers))
			emit(unproven, float64(st.Unproven))
			emit(probes, float64(st.Probes))
			emit(queueMessages, float64(st.QueuedMessages))
			emit(queueBytes, float64(st.QueuedBytes))
			emit(unanswered, float64(st.Unanswered))
			emit(ready, number(g.Ready()))
			emit(heldPackets, float64(st.HeldPackets))
			emit(heldBytes, float64(st.HeldBytes))
			emit(restored, float64(st.Restored))
			emit(storeLevel, float64(st.StoreLevel))
		},
	}
}

// buildSource says which build this is.
func buildSource() Source {
	const build = "mqttsn_gateway_build_info"
	return Source{
		Families: []Family{{build, "Always 1; the labels say which build is running.", Gauge, []string{"version", "revision", "goversion"}}},
		Collect: func(emit Emit) {
			version, revision := "unknown", "unknown"
			if info, ok := debug.ReadBuildInfo(); ok {
				version = info.Main.Version
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = s.Value
					}
				}
			}
			emit(build, 1, version, revision, runtime.Version())
		},
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
