package config

import (
	"strings"
	"time"

	"mqttsn-gateway/gateway"
)

// defaultsOf is what the options of a profile have that are not set.
func defaultsOf(profile string) Config {
	c := Default()
	if profile == gateway.ProfileSmall {
		small(&c)
	}
	return c
}

// small is the profile of machines with 512 MiB of memory and an SD card, where 1000 clients
// are many: all queues together stay below 100 MiB, and no flood takes the processor for long.
func small(c *Config) {
	c.Gateway.Profile = gateway.ProfileSmall
	c.Gateway.MaxClients = 1000
	c.Gateway.ConnectRate = 50
	c.Gateway.ConnectRatePerPrefix = 20
	c.Gateway.PublishRate = 500
	c.Gateway.PublishByteRate = 64 << 10
	c.Gateway.MaxQueuedBytesTotal = 48 << 20
	c.Gateway.ForwarderClients = 1000
	c.Gateway.ForwarderRate = 500
	c.Gateway.QoSMinusOneRate = 100
	c.Gateway.UnknownPeerRate = 100

	c.Session.MaxTopics = 64
	c.Session.MaxSubscriptions = 32
	c.Session.MaxInflightUp = 8
	c.Session.MaxQueuedMessages = 100
	c.Session.MaxQueuedBytes = 32 << 10
	c.Session.MaxQueuedQoS0 = 20

	c.DTLS.MaxConnections = 1000
	c.DTLS.MaxSessions = 1000
	c.DTLS.MaxHandshakesPerPrefix = 4

	c.Broker.DialConcurrency = 16
	c.Broker.ReconnectRate = 50
	c.Broker.DrainRate = 200
	c.Broker.MaxSpooledMessages = 10000
	c.Broker.MaxQueuedMessages = 100
	c.Broker.MaxQueuedBytes = 32 << 10

	c.MQTT.MaxConnections = 1000
	c.MQTT.MaxPendingConnections = 100
	c.MQTT.ConnectRate = 100
	c.MQTT.MaxSessions = 10000
	c.MQTT.MaxPacketSize = 256 << 10
	c.MQTT.MaxIncomingBytesTotal = 16 << 20
	c.MQTT.MaxSessionBytesTotal = 32 << 20
	c.MQTT.MaxQueuedMessages = 100
	c.MQTT.MaxQueuedBytes = 256 << 10
	c.MQTT.MaxQueuedBytesTotal = 32 << 20
	c.MQTT.MaxRetainedMessages = 10000
	c.MQTT.MaxRetainedBytes = 16 << 20

	c.State.SyncInterval = 5 * time.Millisecond
	c.State.MaxBytes = 256 << 20
	c.State.MaxRecords = 500_000
}

// profile is the profile that the layers read so far ask for, if it is one.
func (l *loader) profile() string {
	name, _ := l.viper.Get(strings.ReplaceAll("gateway.profile", ".", delimiter)).(string)
	return name
}
