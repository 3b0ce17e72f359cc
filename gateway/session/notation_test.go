package session

import (
	"fmt"
	"strconv"
	"strings"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/mqttsn"
)

// The notation of packets, requests and events in the scenario files, such as
//
//	PUBLISH topic=5 msg=7 qos=1 dup "on"
//	SUBSCRIBE msg=3 qos=1 s/temp
//
// Names and payloads are Go strings in quotes wherever they are not plain words.

// words are the parts of a line: bare words, and key=value.
type words struct {
	bare []string
	kv   map[string]string
	err  error
}

// split cuts a line at spaces outside of quotes.
func split(line string) (parts []string, err error) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " ") {
		end := strings.IndexAny(line, " \"")
		if end >= 0 && line[end] == '"' {
			quoted, err := strconv.QuotedPrefix(line[end:])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", line, err)
			}
			end += len(quoted)
		} else if end < 0 {
			end = len(line)
		}
		parts = append(parts, line[:end])
		line = line[end:]
	}
	return parts, nil
}

func newWords(parts []string) *words {
	w := &words{kv: map[string]string{}}
	for _, p := range parts {
		if k, v, ok := strings.Cut(p, "="); ok && !strings.HasPrefix(p, `"`) {
			w.kv[k] = w.unquote(v)
		} else {
			w.bare = append(w.bare, p)
		}
	}
	return w
}

func (w *words) unquote(s string) string {
	if !strings.HasPrefix(s, `"`) {
		return s
	}
	u, err := strconv.Unquote(s)
	if err != nil {
		w.err = err
	}
	return u
}

// flag takes a bare word.
func (w *words) flag(name string) bool {
	for i, b := range w.bare {
		if b == name {
			w.bare = append(w.bare[:i], w.bare[i+1:]...)
			return true
		}
	}
	return false
}

// text takes the next bare word or quoted string; "" if there is none.
func (w *words) text() string {
	if len(w.bare) == 0 {
		return ""
	}
	t := w.bare[0]
	w.bare = w.bare[1:]
	return w.unquote(t)
}

func (w *words) num(key string) int {
	v, ok := w.kv[key]
	if !ok {
		return 0
	}
	delete(w.kv, key)
	n, err := strconv.ParseInt(v, 0, 32)
	if err != nil {
		w.err = err
	}
	return int(n)
}

func (w *words) u16(key string) uint16 { return uint16(w.num(key)) }

func (w *words) qos() mqttsn.QoS {
	if q := w.num("qos"); q >= 0 {
		return mqttsn.QoS(q)
	}
	return mqttsn.QoSMinusOne
}

func (w *words) token() (t broker.Token) {
	for i, b := range w.bare {
		if n, ok := strings.CutPrefix(b, "#"); ok {
			v, err := strconv.Atoi(n)
			if err == nil {
				w.bare = append(w.bare[:i], w.bare[i+1:]...)
				return broker.Token(v)
			}
		}
	}
	return 0
}

var returnCodes = []string{"accepted", "congestion", "invalid-topic-id", "not-supported"}

func (w *words) returnCode() mqttsn.ReturnCode {
	for i, name := range returnCodes {
		if w.flag(name) {
			return mqttsn.ReturnCode(i)
		}
	}
	return mqttsn.ReturnCode(w.num("code"))
}

// topic takes topic=, predefined=, short= or reserved=.
func (w *words) topic() (mqttsn.TopicIDType, uint16) {
	switch {
	case w.kv["predefined"] != "":
		return mqttsn.TopicPredefined, w.u16("predefined")
	case w.kv["reserved"] != "":
		return mqttsn.TopicReserved, w.u16("reserved")
	case w.kv["short"] != "":
		id, _ := mqttsn.ShortTopic(w.kv["short"])
		delete(w.kv, "short")
		return mqttsn.TopicShort, id
	}
	return mqttsn.TopicNormal, w.u16("topic")
}

// parsePacket reads a packet of a client.
func parsePacket(parts []string) (mqttsn.Packet, error) {
	w := newWords(parts[1:])
	p := w.packet(parts[0])
	switch {
	case w.err != nil:
		return nil, w.err
	case p == nil:
		return nil, fmt.Errorf("%s: not a packet", parts[0])
	case len(w.bare) > 0 || len(w.kv) > 0:
		return nil, fmt.Errorf("%s: %v %v not understood", parts[0], w.bare, w.kv)
	}
	return p, nil
}

func (w *words) packet(name string) mqttsn.Packet {
	switch name {
	case "CONNECT":
		p := &mqttsn.Connect{CleanSession: w.flag("clean"), Will: w.flag("will"), ProtocolID: mqttsn.ProtocolID, Duration: w.u16("duration"), ClientID: []byte("dev")}
		if w.kv["protocol"] != "" {
			p.ProtocolID = byte(w.num("protocol"))
		}
		if id, ok := w.kv["id"]; ok {
			p.ClientID = []byte(id)
			delete(w.kv, "id")
		}
		return p
	case "WILLTOPIC":
		return &mqttsn.WillTopic{QoS: w.qos(), Retain: w.flag("retain"), Topic: []byte(w.text())}
	case "WILLTOPICUPD":
		return &mqttsn.WillTopicUpd{QoS: w.qos(), Retain: w.flag("retain"), Topic: []byte(w.text())}
	case "WILLMSG":
		return &mqttsn.WillMsg{Message: []byte(w.text())}
	case "WILLMSGUPD":
		return &mqttsn.WillMsgUpd{Message: []byte(w.text())}
	case "REGISTER":
		return &mqttsn.Register{TopicID: w.u16("topic"), MsgID: w.u16("msg"), TopicName: []byte(w.text())}
	case "REGACK":
		return &mqttsn.Regack{TopicID: w.u16("topic"), MsgID: w.u16("msg"), ReturnCode: w.returnCode()}
	case "PUBLISH":
		p := &mqttsn.Publish{DUP: w.flag("dup"), QoS: w.qos(), Retain: w.flag("retain"), MsgID: w.u16("msg")}
		p.TopicIDType, p.TopicID = w.topic()
		p.Data = []byte(w.text())
		return p
	case "PUBACK":
		return &mqttsn.Puback{TopicID: w.u16("topic"), MsgID: w.u16("msg"), ReturnCode: w.returnCode()}
	case "PUBREC":
		return &mqttsn.Pubrec{MsgID: w.u16("msg")}
	case "PUBREL":
		return &mqttsn.Pubrel{MsgID: w.u16("msg")}
	case "PUBCOMP":
		return &mqttsn.Pubcomp{MsgID: w.u16("msg")}
	case "SUBSCRIBE":
		p := &mqttsn.Subscribe{DUP: w.flag("dup"), QoS: w.qos(), MsgID: w.u16("msg")}
		p.TopicIDType, p.TopicID = w.topic()
		p.TopicName = []byte(w.text())
		return p
	case "UNSUBSCRIBE":
		p := &mqttsn.Unsubscribe{MsgID: w.u16("msg")}
		p.TopicIDType, p.TopicID = w.topic()
		p.TopicName = []byte(w.text())
		return p
	case "PINGREQ":
		return &mqttsn.Pingreq{ClientID: []byte(w.text())}
	case "DISCONNECT":
		_, has := w.kv["duration"]
		return &mqttsn.Disconnect{HasDuration: has, Duration: w.u16("duration")}
	}
	return w.gatewayPacket(name)
}

// gatewayPacket reads what a client should not send.
func (w *words) gatewayPacket(name string) mqttsn.Packet {
	switch name {
	case "PINGRESP":
		return &mqttsn.Pingresp{}
	case "CONNACK":
		return &mqttsn.Connack{ReturnCode: w.returnCode()}
	case "WILLTOPICREQ":
		return &mqttsn.WillTopicReq{}
	case "WILLMSGREQ":
		return &mqttsn.WillMsgReq{}
	case "WILLTOPICRESP":
		return &mqttsn.WillTopicResp{ReturnCode: w.returnCode()}
	case "WILLMSGRESP":
		return &mqttsn.WillMsgResp{ReturnCode: w.returnCode()}
	case "SUBACK":
		return &mqttsn.Suback{QoS: w.qos(), TopicID: w.u16("topic"), MsgID: w.u16("msg"), ReturnCode: w.returnCode()}
	case "UNSUBACK":
		return &mqttsn.Unsuback{MsgID: w.u16("msg")}
	case "ADVERTISE":
		return &mqttsn.Advertise{Duration: w.u16("duration")}
	case "SEARCHGW":
		return &mqttsn.SearchGW{}
	case "GWINFO":
		return &mqttsn.GWInfo{}
	case "ENCAPSULATED":
		return &mqttsn.Encapsulated{NodeID: []byte{1}, Packet: mqttsn.Pingreq{}.Append(nil)}
	}
	return nil
}

// word writes a name or payload.
func word(s string) string {
	if s == "" || strings.ContainsAny(s, " =\"") || strings.Trim(s, "0123456789") == "" || !strconv.CanBackquote(s) {
		return strconv.Quote(s)
	}
	return s
}

func formatCode(c mqttsn.ReturnCode) string {
	if int(c) < len(returnCodes) {
		return returnCodes[c]
	}
	return fmt.Sprintf("code=%#02x", byte(c))
}

func option(on bool, s string) string {
	if on {
		return " " + s
	}
	return ""
}

// formatPacket writes a packet of the gateway.
func formatPacket(p mqttsn.Packet) string {
	name := p.Type().String()
	switch p := p.(type) {
	case *mqttsn.Connack:
		return name + " " + formatCode(p.ReturnCode)
	case *mqttsn.WillTopicResp:
		return name + " " + formatCode(p.ReturnCode)
	case *mqttsn.WillMsgResp:
		return name + " " + formatCode(p.ReturnCode)
	case *mqttsn.Register:
		return fmt.Sprintf("%s topic=%d msg=%d %s", name, p.TopicID, p.MsgID, word(string(p.TopicName)))
	case *mqttsn.Regack:
		return fmt.Sprintf("%s topic=%d msg=%d %s", name, p.TopicID, p.MsgID, formatCode(p.ReturnCode))
	case *mqttsn.Publish:
		topic := fmt.Sprintf("topic=%d", p.TopicID)
		switch p.TopicIDType {
		case mqttsn.TopicPredefined:
			topic = fmt.Sprintf("predefined=%d", p.TopicID)
		case mqttsn.TopicShort:
			short := mqttsn.ShortTopicName(p.TopicID)
			topic = "short=" + word(string(short[:]))
		}
		s := name + " " + topic
		if p.QoS > 0 {
			s += fmt.Sprintf(" msg=%d qos=%v", p.MsgID, p.QoS)
		}
		return s + option(p.DUP, "dup") + option(p.Retain, "retain") + " " + strconv.Quote(string(p.Data))
	case *mqttsn.Puback:
		return fmt.Sprintf("%s topic=%d msg=%d %s", name, p.TopicID, p.MsgID, formatCode(p.ReturnCode))
	case *mqttsn.Pubrec:
		return fmt.Sprintf("%s msg=%d", name, p.MsgID)
	case *mqttsn.Pubrel:
		return fmt.Sprintf("%s msg=%d", name, p.MsgID)
	case *mqttsn.Pubcomp:
		return fmt.Sprintf("%s msg=%d", name, p.MsgID)
	case *mqttsn.Suback:
		return fmt.Sprintf("%s topic=%d msg=%d qos=%v %s", name, p.TopicID, p.MsgID, p.QoS, formatCode(p.ReturnCode))
	case *mqttsn.Unsuback:
		return fmt.Sprintf("%s msg=%d", name, p.MsgID)
	case *mqttsn.Disconnect:
		if p.HasDuration {
			return name + " with a Duration"
		}
	}
	return name
}

func formatMessage(m *broker.Message) string {
	return fmt.Sprintf("%s qos=%d%s %q", word(m.Topic), m.QoS, option(m.Retain, "retain"), m.Payload)
}

// formatRequest writes a request to the broker.
func formatRequest(r *broker.Request) string {
	switch r.Op {
	case broker.Connect:
		s := fmt.Sprintf("connect #%d%s", r.Token, option(r.CleanSession, "clean"))
		if r.Will != nil {
			s += " will " + formatMessage(r.Will)
		}
		return s
	case broker.Publish:
		s := "publish "
		if r.QoS > 0 {
			s += fmt.Sprintf("#%d ", r.Token)
		}
		return s + formatMessage(&broker.Message{Topic: r.Topic, QoS: r.QoS, Retain: r.Retain, Payload: r.Payload})
	case broker.Subscribe:
		return fmt.Sprintf("subscribe #%d %s qos=%d", r.Token, word(r.Topic), r.QoS)
	case broker.Unsubscribe:
		return fmt.Sprintf("unsubscribe #%d %s", r.Token, word(r.Topic))
	case broker.Ack:
		if r.Code != broker.CodeSuccess {
			return fmt.Sprintf("ack #%d code=%#02x", r.Token, byte(r.Code))
		}
		return fmt.Sprintf("ack #%d", r.Token)
	case broker.SetWill:
		if r.Will == nil {
			return "set-will none"
		}
		return "set-will " + formatMessage(r.Will)
	case broker.Disconnect:
		return "disconnect"
	case broker.Abandon:
		return "abandon"
	case broker.Persist:
		return "persist"
	}
	return fmt.Sprintf("unknown %+v", *r)
}
