package main

import (
	"fmt"
	"io"
	"time"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/mqttsn/client"
)

// printer prints messages as mqtt-sn-sub does. It runs on the client's reader: while the
// output blocks, nothing is read, and the gateway keeps the messages.
type printer struct {
	w         io.Writer
	withTopic bool
	withTime  bool
	left      uint // messages still to print; 0 is no limit

	hold func(bool)
	stop func(error)
	line []byte
}

func (p *printer) print(m client.Message) {
	p.line = p.line[:0]
	if p.withTime {
		p.line = time.Now().AppendFormat(p.line, "2006-01-02 15:04:05 ")
	}
	if p.withTopic {
		if m.TopicIDType == mqttsn.TopicPredefined {
			p.line = fmt.Appendf(p.line, "%04x: ", m.TopicID)
		} else {
			p.line = fmt.Appendf(p.line, "%s: ", m.Topic)
		}
	}
	p.line = append(append(p.line, m.Payload...), '\n')
	if _, err := p.w.Write(p.line); err != nil {
		p.hold(true) // no use in taking more
		p.stop(fmt.Errorf("printing a message: %w", err))
		return
	}
	if p.left == 0 {
		return
	}
	if p.left--; p.left == 0 {
		p.stop(errEnough)
		p.hold(true) // what follows stays with the gateway
	}
}
