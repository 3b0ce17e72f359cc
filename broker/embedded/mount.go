package embedded

import (
	"fmt"
	"strings"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// mount is the mount point of a listener: what the broker puts in front of every topic and
// filter of its clients, and takes off what they are sent, so that they see the part of
// the topics below it as if it were all. There is one for each mount point, whichever
// listeners have it, so that they are compared by address. The nil mount is none.
//
// A topic of $SYS is not below any: clients of the listener do not see it, and publish
// there as little as others. Topics below the mount point that begin with "$" for its
// clients are like others, as with Mosquitto: a wildcard stands for them.
type mount struct{ point string }

// validateMountPoint reports what is wrong with a mount point; nothing is none.
func validateMountPoint(point string) error {
	switch {
	case point == "":
		return nil
	case !mqtt.ValidTopicName(point):
		return fmt.Errorf("mount_point: %q is no topic: it may have no wildcard, must be UTF-8 and at most 65535 octets long", point)
	case strings.HasPrefix(point, "$"):
		return fmt.Errorf("mount_point: %q is not allowed: topics that begin with $ are the broker's own", point)
	case !strings.HasSuffix(point, "/"):
		return fmt.Errorf("mount_point: %q does not end with /, so that topic a would become %sa; write %q", point, point, point+"/")
	}
	return nil
}

// mountAt is the mount of that mount point.
func (b *Broker) mountAt(point string) *mount {
	if point == "" {
		return nil
	}
	for _, l := range b.listeners {
		if l.mount != nil && l.mount.point == point {
			return l.mount
		}
	}
	return &mount{point: point}
}

// topic appends the broker's topic for one of a client.
func (m *mount) topic(b, topic []byte) []byte {
	own := len(topic) > 0 && topic[0] == '$' && isSys(string(topic))
	if m != nil && !own {
		b = append(b, m.point...)
	}
	return append(b, topic...)
}

// filter is the broker's filter for one of a client. What is none stays as it is.
func (m *mount) filter(f []byte) string {
	if m == nil || !mqtt.ValidTopicFilter(f) {
		return string(f)
	}
	if name, proper, ok := mqtt.Shared(string(f)); ok {
		return "$share/" + name + "/" + m.point + proper
	}
	return m.point + string(f)
}

// strip makes a topic of the broker's one of a client. ok is false if the client cannot
// see it: a filter that stands for all below the mount point also stands for what is in
// front of its last "/" [MQTT 5, 4.7.1.2].
func (m *mount) strip(topic []byte) (rest []byte, ok bool) {
	if m == nil {
		return topic, true
	}
	if n := len(m.point); len(topic) > n && string(topic[:n]) == m.point {
		return topic[n:], true
	}
	return nil, false
}

// stripResponse does the same for a response topic. One that the client could not publish
// to is left out.
func (m *mount) stripResponse(p *mqtt.PublishProperties) {
	if m != nil && p.ResponseTopic != nil {
		p.ResponseTopic, _ = m.strip(p.ResponseTopic)
	}
}

// response makes the response topic of a client's message one of the broker's.
func (m *mount) response(p *mqtt.PublishProperties) {
	if m != nil && p != nil && p.ResponseTopic != nil {
		p.ResponseTopic = m.topic(nil, p.ResponseTopic)
	}
}

// will makes a client's will one of the broker's.
func (m *mount) will(w *will) *will {
	if m != nil {
		w.message.Topic = string(m.topic(nil, []byte(w.message.Topic)))
		m.response(w.message.properties)
	}
	return w
}

// routeOf is the route of a topic that the client publishes to.
func (c *client) routeOf(topic []byte) (*route, broker.Code) {
	m := c.listener.mount
	if m == nil {
		return c.broker.topics.routeBytes(topic)
	}
	var full [256]byte
	return c.broker.topics.routeBytes(m.topic(full[:0], topic))
}
