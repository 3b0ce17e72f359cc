package session

import (
	"fmt"
	"time"

	"mqttsn-gateway/mqttsn"
)

// The values of Options.Tolerance.
const (
	ToleranceEven = "even"
	ToleranceSpec = "spec"
)

// Options are the settings of the sessions. All sessions share one Options, which
// nobody changes while they live.
type Options struct {
	// TRetry is how long a packet that wants an answer waits for it before it is sent
	// again, 10 s to 15 s by the specification's advice [SN-7.2]. Smaller values cost
	// duplicates on slow radios.
	TRetry time.Duration `mapstructure:"t_retry"`

	// TRetryMin is the least that TRetry becomes on radios and serial lines, where it
	// follows the round trips that are measured: TRetry itself holds until the first
	// of them. 1ms to TRetry; 0 means a fifth of TRetry. Smaller values repeat what was
	// lost sooner, and cost duplicates when a line becomes slow all of a sudden. Other
	// links always have TRetry.
	TRetryMin time.Duration `mapstructure:"t_retry_min"`

	// TRetryMax is the most that TRetry becomes on radios and serial lines, where it
	// doubles with each repetition. TRetry to 1h; 0 means six times TRetry. Larger
	// values spare a line that is overloaded, and make clients in bad reception wait.
	TRetryMax time.Duration `mapstructure:"t_retry_max"`

	// NRetry is how often such a packet is sent again, 3 to 5 by the specification's
	// advice [SN-7.2]. A client is given (NRetry+1) x TRetry for each step.
	NRetry int `mapstructure:"n_retry"`

	// Tolerance says how much longer than its keep alive or sleep duration a client
	// may be silent before it is lost: "even" is half as long again whatever the
	// duration, "spec" is that up to a minute and a tenth above it [SN-7.2]. With
	// "spec" one lost PINGREQ costs most clients their session.
	Tolerance string `mapstructure:"tolerance"`

	// MaxKeepAlive bounds the silence of a client that asked for no supervision (keep
	// alive 0): after it the client is lost. 0 switches the bound off, and vanished
	// clients then stay for ever.
	MaxKeepAlive time.Duration `mapstructure:"max_keep_alive"`

	// MaxSleep bounds the sleep duration that a client may announce; a longer one
	// counts as this. The wire carries up to 65535 s.
	MaxSleep time.Duration `mapstructure:"max_sleep"`

	// Expiry is how long the session of a disconnected or lost client that did not ask
	// for a clean one is kept. 0 keeps it for ever, at up to 2 KiB each.
	Expiry time.Duration `mapstructure:"expiry"`

	// MaxTopics is how many topic ids a client may hold, 1 to 65534. What a client
	// asks for beyond it is refused with "congestion". Each costs some 30 octets and
	// its name.
	MaxTopics int `mapstructure:"max_topics"`

	// MaxSubscriptions is how many subscriptions a client may hold; more are refused
	// with "congestion".
	MaxSubscriptions int `mapstructure:"max_subscriptions"`

	// MaxTopicLength is how many octets a topic name or filter of a client may have;
	// longer ones are refused with "not supported".
	MaxTopicLength int `mapstructure:"max_topic_length"`

	// MaxInflightUp is how many QoS 1 and 2 messages, and how many subscribe requests,
	// of one client may be unfinished at a time; more are refused with "congestion".
	// The specification allows a client one [SN-6.6].
	MaxInflightUp int `mapstructure:"max_inflight_up"`

	// MaxQueuedMessages is how many messages may wait for one client. QoS 0 messages
	// make room first; then QoS 1 and 2 are refused to the broker and counted. It
	// should exceed the window of the broker, which holds back what is beyond it.
	MaxQueuedMessages int `mapstructure:"max_queued_messages"`

	// MaxQueuedBytes is how many octets of topic and payload may wait for one client.
	MaxQueuedBytes int `mapstructure:"max_queued_bytes"`

	// MaxQueuedQoS0 is how many QoS 0 messages may wait for one client; the oldest is
	// dropped for a new one. 0 drops those that cannot be sent at once.
	MaxQueuedQoS0 int `mapstructure:"max_queued_qos0"`

	// MaxAwakeMessages is how many messages a sleeping client gets for one PINGREQ,
	// unless more were waiting for it at that time.
	MaxAwakeMessages int `mapstructure:"max_awake_messages"`

	// MaxAwakeTime is how long a sleeping client is kept awake by messages that go on
	// coming in. The message in hand is finished first.
	MaxAwakeTime time.Duration `mapstructure:"max_awake_time"`

	// MaxAmplification is how many times the octets that came from an address over plain UDP
	// may be sent to it before the client there has proven that it gets them, 1 to 1000; messages
	// wait until then. So nobody can have the gateway flood others by sending in their
	// name. Most clients notice nothing, others get a REGISTER that they can answer; small
	// devices that do not know their way with either wait. 0 switches it off: right only
	// in networks where nobody can forge an address.
	MaxAmplification int `mapstructure:"max_amplification"`

	// MaxClientID is how many octets a ClientID may have, at least 23. The
	// specification has 1 to 23 characters [SN-5.3.1]; deployed clients use more.
	MaxClientID int `mapstructure:"client_id_max"`

	// ShortTopicsForWildcards delivers a message with a topic of two octets that
	// matched a wildcard filter as a short topic, without REGISTER. By the letter a
	// wildcard match is announced by REGISTER [SN-6.9].
	ShortTopicsForWildcards bool `mapstructure:"short_topics_for_wildcards"`

	// NoDUP leaves the DUP flag off when a message is sent again, for clients that
	// refuse any PUBLISH that has it set, such as RIOT's emcute.
	NoDUP bool `mapstructure:"no_dup"`

	// Predefined are the topic ids that clients and gateway know beforehand; nil for
	// none.
	Predefined *Predefined `mapstructure:"-"`

	// Durable says that there is a store: sessions with CleanSession 0, and those of
	// sleepers, emit what has to survive a crash of the gateway.
	Durable bool `mapstructure:"-"`
}

// DefaultOptions are the settings of sessions of which nothing else is said.
func DefaultOptions() Options {
	return Options{
		TRetry:                  10 * time.Second,
		NRetry:                  3,
		Tolerance:               ToleranceEven,
		MaxKeepAlive:            24 * time.Hour,
		MaxSleep:                24 * time.Hour,
		Expiry:                  7 * 24 * time.Hour,
		MaxTopics:               256,
		MaxSubscriptions:        64,
		MaxTopicLength:          256,
		MaxInflightUp:           16,
		MaxQueuedMessages:       1000,
		MaxQueuedBytes:          256 << 10,
		MaxQueuedQoS0:           100,
		MaxAwakeMessages:        1000,
		MaxAwakeTime:            5 * time.Minute,
		MaxAmplification:        3,
		MaxClientID:             256,
		ShortTopicsForWildcards: true,
	}
}

// Validate reports the first setting that is out of range.
func (o Options) Validate() error {
	for _, c := range []struct {
		key             string
		value, min, max time.Duration
	}{
		{"t_retry", o.TRetry, time.Millisecond, time.Hour},
		{"t_retry_min", o.TRetryMin, 0, time.Hour},
		{"t_retry_max", o.TRetryMax, 0, time.Hour},
		{"max_keep_alive", o.MaxKeepAlive, 0, 10 * 365 * 24 * time.Hour},
		{"max_sleep", o.MaxSleep, time.Second, 10 * 365 * 24 * time.Hour},
		{"expiry", o.Expiry, 0, 10 * 365 * 24 * time.Hour},
		{"max_awake_time", o.MaxAwakeTime, time.Second, 24 * time.Hour},
	} {
		if c.value < c.min || c.value > c.max {
			return fmt.Errorf("%s: %v is out of range: %v to %v", c.key, c.value, c.min, c.max)
		}
	}
	for _, c := range []struct {
		key             string
		value, min, max int
	}{
		{"n_retry", o.NRetry, 0, 100},
		{"max_topics", o.MaxTopics, 1, maxTopicID},
		{"max_subscriptions", o.MaxSubscriptions, 1, 1_000_000},
		{"max_topic_length", o.MaxTopicLength, 1, 65535},
		{"max_inflight_up", o.MaxInflightUp, 1, 65535},
		{"max_queued_messages", o.MaxQueuedMessages, 1, 1_000_000_000},
		{"max_queued_bytes", o.MaxQueuedBytes, 1, 1 << 30},
		{"max_queued_qos0", o.MaxQueuedQoS0, 0, 1_000_000_000},
		{"max_awake_messages", o.MaxAwakeMessages, 1, 1_000_000_000},
		{"max_amplification", o.MaxAmplification, 0, 1000},
		{"client_id_max", o.MaxClientID, 23, 65535},
	} {
		if c.value < c.min || c.value > c.max {
			return fmt.Errorf("%s: %d is out of range: %d to %d", c.key, c.value, c.min, c.max)
		}
	}
	if o.Tolerance != ToleranceEven && o.Tolerance != ToleranceSpec {
		return fmt.Errorf("tolerance: %q is not a policy: %s or %s", o.Tolerance, ToleranceEven, ToleranceSpec)
	}
	if o.TRetryMin != 0 && o.TRetryMin < time.Millisecond {
		return fmt.Errorf("t_retry_min: %v is out of range: 1ms to t_retry, or 0 for a fifth of it", o.TRetryMin)
	}
	if o.TRetryMin > o.TRetry {
		return fmt.Errorf("t_retry_min: %v is more than t_retry, which is %v: allowed is up to that", o.TRetryMin, o.TRetry)
	}
	if o.TRetryMax < o.TRetry && o.TRetryMax != 0 {
		return fmt.Errorf("t_retry_max: %v is less than t_retry, which is %v: allowed is that and more", o.TRetryMax, o.TRetry)
	}
	return nil
}

// tRetryBounds are the bounds of T_retry where it follows the round trips.
func (o *Options) tRetryBounds() (least, most time.Duration) {
	least, most = o.TRetryMin, o.TRetryMax
	if least == 0 {
		least = o.TRetry / 5
	}
	if most == 0 {
		most = max(o.TRetry, min(6*o.TRetry, time.Hour))
	}
	return least, most
}

// AcceptsClientID reports whether a client may have that id: 1 to MaxClientID octets of
// UTF-8 without NUL [SN-5.3.1]. An empty one names nobody and could not wake up.
func (o *Options) AcceptsClientID(id []byte) bool {
	return len(id) > 0 && len(id) <= o.MaxClientID && mqttsn.ValidUTF8(id)
}

// tolerate is how long a client that announced a duration may be silent [SN-7.2]. The
// text leaves open which side exactly a minute is on.
func (o *Options) tolerate(d time.Duration) time.Duration {
	if o.Tolerance == ToleranceSpec && d > time.Minute {
		return d + d/10
	}
	return d + d/2 // ![SN-7.2] above a minute, where the text gives a tenth as example
}

// patience is how long a client goes on repeating a request: what it has not got by
// then it has given up [SN-6.13].
func (o *Options) patience() time.Duration {
	return o.TRetry * time.Duration(o.NRetry+1)
}

// redelivery is how long the broker is given to bring what waits for a client that it is
// connected with again.
func (o *Options) redelivery() time.Duration { return min(o.TRetry/5, time.Second) }

// echoes is how long copies of a packet may still arrive after it was answered: the
// last repetition leaves NRetry x TRetry after the first.
func (o *Options) echoes() time.Duration {
	return o.TRetry * time.Duration(max(o.NRetry, 1))
}
