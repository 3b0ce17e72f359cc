package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/mqttsn/client"
)

const subLong = `sub subscribes as an MQTT-SN client, to any MQTT-SN gateway, and prints the messages. The flags are
those of mqtt-sn-sub (mqtt-sn-tools), and some more.

A topic of two octets without wildcards is a short topic, -T is a pre-defined topic id.
With -e the client sleeps, and wakes up every so many seconds to collect its messages; it
is left asleep at the end. With --psk-file, --cafile or --dtls everything is encrypted with
DTLS.`

const subExample = `  gateway sub -t 'sensors/#' -v
  gateway sub -i meter-7 -c -q 1 -t commands/meter-7 -e 60
  gateway sub -t sensors/1/temperature -C 1 -W 10
  gateway sub --psk-file psk -t 'sensors/#' -v`

// subFlags are the flags of gateway sub.
type subFlags struct {
	clientFlags
	topics       []string
	topicIDs     []uint
	keepSession  bool
	one          bool
	count        uint
	timeout      uint
	withTopic    bool
	withTime     bool
	subscription []client.Topic
}

// subCommand is gateway sub.
func subCommand() *cobra.Command {
	f := &subFlags{}
	cmd := &cobra.Command{
		Use:     "sub {-t topic | -T id}...",
		Short:   "Subscribe as an MQTT-SN client",
		Long:    subLong,
		Example: subExample,
		Args:    cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.topics, "topic", "t", nil, "`topic` name or filter to subscribe to; may be repeated")
	flags.UintSliceVarP(&f.topicIDs, "topic-id", "T", nil, "pre-defined topic `id` to subscribe to; may be repeated")
	flags.IntVarP(&f.qos, "qos", "q", 0, "highest `QoS` to receive with: 0, 1 or 2")
	flags.BoolVarP(&f.keepSession, "disable-clean-session", "c", false, "keep subscriptions and messages when the client is away; needs -i")
	flags.BoolVarP(&f.one, "one", "1", false, "exit after the first message")
	flags.UintVarP(&f.count, "count", "C", 0, "exit after `n` messages")
	flags.UintVarP(&f.timeout, "timeout", "W", 0, "exit after `seconds`, with status 27")
	flags.BoolVarP(&f.withTopic, "verbose", "v", false, "print the topic too")
	flags.BoolVarP(&f.withTime, "verbose-time", "V", false, "print time and topic too")
	flags.Uint16VarP(&f.sleep, "sleep", "e", 0, "sleep, and wake up every `seconds` to collect messages")
	f.add(flags, "sub")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.checkAll(cmd); err != nil {
			return fmt.Errorf("%w (gateway sub --help lists the flags)", err)
		}
		return f.run(cmd)
	}
	return cmd
}

func (f *subFlags) checkAll(cmd *cobra.Command) error {
	flags := cmd.Flags()
	if err := f.check(flags); err != nil {
		return err
	}
	if f.qos < 0 || f.qos > 2 {
		return fmt.Errorf("--qos is %d, must be 0, 1 or 2", f.qos)
	}
	if f.keepSession && !f.stableID {
		return errors.New("-c needs -i: a session is kept under the client id, and without -i that is another each time")
	}
	if f.one {
		if flags.Changed("count") {
			return errors.New("give either -1 or -C")
		}
		f.count = 1
	}
	f.subscription = nil
	for _, name := range f.topics {
		topic, err := subscriptionForm(name)
		if err != nil {
			return err
		}
		f.subscription = append(f.subscription, topic)
	}
	for _, id := range f.topicIDs {
		if id == 0 || id >= 0xFFFF {
			return fmt.Errorf("--topic-id is %d, must be 1 to 65534", id)
		}
		f.subscription = append(f.subscription, client.Predefined(uint16(id)))
	}
	if len(f.subscription) == 0 {
		return errors.New("give -t or -T: what to subscribe to")
	}
	return nil
}

// subscriptionForm chooses between a name and a short topic: two octets are one, unless
// they are a filter such as "/#", in which a short topic makes no sense [SN-6.7].
func subscriptionForm(name string) (client.Topic, error) {
	switch {
	case !mqttsn.ValidTopicFilter([]byte(name)):
		return client.Topic{}, fmt.Errorf("--topic %q is not a topic filter: + must be a whole level, # the whole last level", name)
	case len(name) == 2 && mqttsn.ValidTopicName([]byte(name)):
		return client.Short(name), nil
	default:
		return client.Named(name), nil
	}
}

// errEnough ends gateway sub when -C is reached.
var errEnough = errors.New("enough messages")

func (f *subFlags) run(cmd *cobra.Command) error {
	p := &printer{w: cmd.OutOrStdout(), withTopic: f.withTopic || f.withTime, withTime: f.withTime, left: f.count}
	ctx := cmd.Context()
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(f.timeout)*time.Second,
			&exitError{fmt.Errorf("timed out after %d s", f.timeout), exitTimeout})
		defer cancel()
	}
	d, err := f.open(ctx, cmd, p.print)
	switch {
	case err != nil && cmd.Context().Err() != nil:
		return nil // a signal while connecting is as good an end as any
	case err != nil:
		return err
	}
	defer d.close()
	p.hold, p.stop = d.Hold, d.stop
	err = f.receive(d)
	if errors.Is(err, errEnough) || d.interrupted(err) {
		err = nil
	}
	if d.State() != client.Disconnected {
		// If something else has ended it, that is what there is to say.
		if left := d.leave(); err == nil {
			err = left
		}
	}
	return f.explain(err)
}

// receive subscribes and lets messages come until something ends it. It never returns
// nil.
func (f *subFlags) receive(d *dialogue) error {
	if err := d.connect(!f.keepSession); err != nil {
		return err
	}
	for _, topic := range f.subscription {
		if _, err := d.Subscribe(d.ctx, topic, mqttsn.QoS(f.qos)); err != nil {
			return err
		}
	}
	if f.sleep == 0 {
		<-d.ctx.Done()
		return context.Cause(d.ctx)
	}
	period := time.Duration(f.sleep) * time.Second
	if err := d.Sleep(d.ctx, period); err != nil {
		return err
	}
	wake := time.NewTicker(period)
	defer wake.Stop()
	for {
		select {
		case <-wake.C:
			if _, err := d.Wake(d.ctx); err != nil {
				return err
			}
		case <-d.ctx.Done():
			return context.Cause(d.ctx)
		}
	}
}
