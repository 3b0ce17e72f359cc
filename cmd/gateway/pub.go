package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/mqttsn/client"
)

const pubLong = `pub publishes as an MQTT-SN client, to any MQTT-SN gateway. The flags are those of mqtt-sn-pub
(mqtt-sn-tools), and some more.

A topic of two octets is a short topic, -T is a pre-defined topic id; both need no
registration. QoS -1 sends without a connection, and needs one of the two.

With --psk-file, --cafile or --dtls everything is encrypted with DTLS.`

const pubExample = `  gateway pub -t sensors/1/temperature -m 21.5 -q 1
  gateway pub -h 192.0.2.1 -T 7 -m on -q -1
  gateway pub --psk-file psk -t sensors/1/temperature -m 21.5 -q 1
  sensor-log | gateway pub -t sensors/1/log -l`

// pubFlags are the flags of gateway pub.
type pubFlags struct {
	clientFlags
	topic   string
	topicID uint16
	retain  bool

	message   string
	null      bool
	wholeFile string
	stdin     bool
	lines     bool
}

// pubCommand is gateway pub.
func pubCommand() *cobra.Command {
	f := &pubFlags{}
	cmd := &cobra.Command{
		Use:     "pub {-t topic | -T id} {-m message | -n | -f file | -s | -l}",
		Short:   "Publish as an MQTT-SN client",
		Long:    pubLong,
		Example: pubExample,
		Args:    cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.topic, "topic", "t", "", "`topic` name to publish to")
	flags.Uint16VarP(&f.topicID, "topic-id", "T", 0, "pre-defined topic `id` to publish to")
	flags.StringVarP(&f.message, "message", "m", "", "`message` to publish")
	flags.BoolVarP(&f.null, "null-message", "n", false, "publish an empty message")
	flags.StringVarP(&f.wholeFile, "file", "f", "", "publish the contents of a `file` as one message; - is stdin")
	flags.BoolVarP(&f.stdin, "stdin-file", "s", false, "publish the whole of stdin as one message")
	flags.BoolVarP(&f.lines, "stdin-line", "l", false, "publish each line of stdin as a message")
	flags.IntVarP(&f.qos, "qos", "q", 0, "`QoS`: -1, 0, 1 or 2")
	flags.BoolVarP(&f.retain, "retain", "r", false, "let the broker retain the message")
	flags.Uint16VarP(&f.sleep, "sleep", "e", 0, "go to sleep for `seconds` in place of disconnecting")
	f.add(flags, "pub")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		topic, err := f.checkAll(cmd)
		if err != nil {
			return fmt.Errorf("%w (gateway pub --help lists the flags)", err)
		}
		return f.run(cmd, topic)
	}
	return cmd
}

// checkAll checks the flags and says what topic they mean.
func (f *pubFlags) checkAll(cmd *cobra.Command) (client.Topic, error) {
	flags := cmd.Flags()
	if err := f.check(flags); err != nil {
		return client.Topic{}, err
	}
	if f.qos < -1 || f.qos > 2 {
		return client.Topic{}, fmt.Errorf("--qos is %d, must be -1, 0, 1 or 2", f.qos)
	}
	if f.qos == -1 {
		for _, name := range []string{"sleep", "will-topic"} {
			if flags.Changed(name) {
				return client.Topic{}, fmt.Errorf("--%s needs a connection, and QoS -1 has none", name)
			}
		}
	}
	sources := 0
	for _, name := range []string{"message", "null-message", "file", "stdin-file", "stdin-line"} {
		if flags.Changed(name) {
			sources++
		}
	}
	if sources != 1 || flags.Changed("file") && f.wholeFile == "" {
		return client.Topic{}, errors.New("give exactly one of -m, -n, -f, -s and -l: what is to be published")
	}
	return f.topicForm(flags.Changed("topic"), flags.Changed("topic-id"))
}

// topicForm chooses among the forms of a topic.
func (f *pubFlags) topicForm(named, numbered bool) (client.Topic, error) {
	switch {
	case named == numbered:
		return client.Topic{}, errors.New("give either -t or -T: where it is to be published")
	case numbered && (f.topicID == 0 || f.topicID == 0xFFFF):
		return client.Topic{}, fmt.Errorf("--topic-id is %d, must be 1 to 65534", f.topicID)
	case numbered:
		return client.Predefined(f.topicID), nil
	case !mqttsn.ValidTopicName([]byte(f.topic)):
		return client.Topic{}, fmt.Errorf("--topic %q is not a topic name: UTF-8 without control characters, + and #", f.topic)
	case len(f.topic) == 2:
		return client.Short(f.topic), nil
	case f.qos == -1:
		return client.Topic{}, errors.New("QoS -1 needs a short topic (two octets) or a pre-defined topic id (-T)")
	default:
		return client.Named(f.topic), nil
	}
}

// commonMTU is the size from which a message may be too large for someone on its way.
const commonMTU = 1200

func (f *pubFlags) run(cmd *cobra.Command, topic client.Topic) error {
	next, err := f.messages(cmd)
	if err != nil {
		return err
	}
	d, err := f.open(cmd.Context(), cmd, nil)
	if err != nil {
		return err
	}
	defer d.close()

	qos := mqttsn.QoS(f.qos)
	if f.qos == -1 {
		qos = mqttsn.QoSMinusOne
	} else if err := d.connect(true); err != nil {
		return f.explain(err)
	}
	for {
		payload, more, err := next(d.ctx)
		if !more && (err == nil || d.interrupted(err)) {
			break
		}
		if err == nil {
			err = d.Publish(d.ctx, topic, payload, qos, f.retain)
		}
		switch {
		case errors.Is(err, client.ErrNoAnswer) && len(payload) > commonMTU:
			return fmt.Errorf("no answer from %s to a message of %d octets, perhaps more than the gateway or the network takes in one datagram", f.address(), len(payload))
		case err != nil:
			return f.explain(err)
		}
	}
	if f.qos == -1 {
		return nil
	}
	// The gateway answers in order: a refusal of the last message is there before the
	// answer to this.
	if err := d.leave(); err != nil {
		return f.explain(err)
	}
	if err := d.refused(); err != nil {
		return f.explain(err)
	}
	return nil
}
