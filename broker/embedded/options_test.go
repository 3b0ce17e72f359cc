package embedded

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// bad is a change of the second listener's options.
func bad(change func(*ListenerOptions)) func(*Options) {
	return func(o *Options) {
		o.Listeners = listeners(":1883", ":1884")
		change(&o.Listeners[1])
	}
}

func TestOptions(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Fatal(err)
	}
	wrong := map[string]func(*Options){
		"listeners.1.listen":          func(o *Options) { o.Listeners = listeners(":1883", "localhost") },
		"listeners.0.listen":          func(o *Options) { o.Listeners = listeners("127.0.0.1:99999") },
		"listeners.1.socket_domain":   bad(func(o *ListenerOptions) { o.SocketDomain = "inet" }),
		"listeners.1.socket_mode":     bad(func(o *ListenerOptions) { o.SocketMode = "rw-rw----" }),
		"max_connections":             func(o *Options) { o.MaxConnections = 0 },
		"listeners.1.max_connections": bad(func(o *ListenerOptions) { o.MaxConnections = 0 }),
		"listeners.1.mount_point":     bad(func(o *ListenerOptions) { o.MountPoint = "a/+/" }),
		"max_connections_per_address": func(o *Options) { o.MaxConnectionsPerAddress = -1 },
		"max_pending_connections":     func(o *Options) { o.MaxPendingConnections = 0 },
		"connect_rate":                func(o *Options) { o.ConnectRate = -1 },
		"connect_rate_per_address":    func(o *Options) { o.ConnectRatePerAddress = -1 },
		"max_packet_rate":             func(o *Options) { o.MaxPacketRate = 1_000_001 },

		"max_sessions":             func(o *Options) { o.MaxSessions = -1 },
		"connect_timeout":          func(o *Options) { o.ConnectTimeout = 5 },
		"max_packet_size":          func(o *Options) { o.MaxPacketSize = 1 << 30 },
		"max_topic_levels":         func(o *Options) { o.MaxTopicLevels = 0 },
		"max_subscriptions":        func(o *Options) { o.MaxSubscriptions = 0 },
		"max_shared_subscriptions": func(o *Options) { o.MaxSharedSubscriptions = 0 },
		"max_subscription_bytes":   func(o *Options) { o.MaxSubscriptionBytes = 10 },
		"max_incoming_bytes_total": func(o *Options) { o.MaxIncomingBytesTotal = 1000 },
		"max_session_bytes_total":  func(o *Options) { o.MaxSessionBytesTotal = 1000 },
		"max_inflight_messages":    func(o *Options) { o.MaxInflightMessages = 65536 },
		"max_inflight_bytes":       func(o *Options) { o.MaxInflightBytes = -1 },
		"receive_maximum":          func(o *Options) { o.ReceiveMaximum = 0 },
		"max_topic_alias":          func(o *Options) { o.MaxTopicAlias = 65536 },
		"max_topic_alias_broker":   func(o *Options) { o.MaxTopicAliasBroker = -1 },
		"max_qos":                  func(o *Options) { o.MaxQoS = 3 },
		"max_keepalive":            func(o *Options) { o.MaxKeepalive = 65536 * time.Second },
		"auto_id_prefix":           func(o *Options) { o.AutoIDPrefix = "\xFF" },
		"device_inflight":          func(o *Options) { o.DeviceInflight = 0 },
		"max_queued_messages":      func(o *Options) { o.MaxQueuedMessages = 0 },
		"max_queued_bytes":         func(o *Options) { o.MaxQueuedBytes = 10 },
		"max_queued_bytes_total":   func(o *Options) { o.MaxQueuedBytesTotal = 1000 },
		"max_retained_messages":    func(o *Options) { o.MaxRetainedMessages = -1 },
		"max_retained_bytes":       func(o *Options) { o.MaxRetainedBytes = -1 },
		"session_expiry_max":       func(o *Options) { o.SessionExpiryMax = time.Millisecond },
		"sys_interval":             func(o *Options) { o.SysInterval = -time.Second },
	}
	for key, change := range wrong {
		o := DefaultOptions()
		change(&o)
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+": ") {
			t.Errorf("%s: %v", key, err)
		}
		if _, err := New(o, nil, silent()); err == nil {
			t.Errorf("%s: New took it", key)
		}
	}
	for i, all := 0, reflect.TypeFor[Options](); i < all.NumField(); i++ {
		f := all.Field(i)
		if key := f.Tag.Get("mapstructure"); key != "-" && f.Type.Kind() != reflect.Bool && f.Type.Kind() != reflect.Slice && wrong[key] == nil {
			t.Errorf("no wrong value of %s is tried", key)
		}
	}
	o := DefaultOptions()
	o.MaxKeepalive = 1500 * time.Millisecond
	if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), "max_keepalive: ") {
		t.Errorf("a keep alive that CONNACK cannot tell: %v", err)
	}
	o = DefaultOptions()
	o.SessionExpiryMax, o.SysInterval, o.Listeners, o.MaxQueuedBytesTotal = 0, 0, nil, 0
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
}
