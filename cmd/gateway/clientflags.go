package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/mqttsn/client"
)

// clientFlags are the flags that gateway pub and gateway sub share. Their letters are
// those of mqtt-sn-tools, and of mosquitto_pub where those have none.
type clientFlags struct {
	host      string
	port      uint16
	localPort uint16
	id        string
	keepAlive uint16
	sleep     uint16
	qos       int
	debug     int
	tretry    time.Duration
	nretry    int

	forwarder bool
	nodeID    string

	secure   secureFlags
	stableID bool // the id is the same each time

	willTopic   string
	willPayload string
	willQoS     int
	willRetain  bool
}

func (f *clientFlags) add(flags *pflag.FlagSet, name string) {
	pid := os.Getpid()
	flags.Bool("help", false, "say what the flags are") // -h is the host
	flags.StringVarP(&f.host, "host", "h", "127.0.0.1", "`host` of the gateway")
	flags.Uint16VarP(&f.port, "port", "p", 1883, "UDP `port` of the gateway")
	flags.Uint16Var(&f.localPort, "cport", 0, "UDP `port` to send from; 0 is any")
	flags.StringVarP(&f.id, "id", "i", fmt.Sprintf("gateway-%s-%d", name, pid), "client `id`; with DTLS the default is the name that the key or certificate is for")
	flags.Uint16VarP(&f.keepAlive, "keepalive", "k", 10, "keep alive in `seconds`; 0 is none")
	flags.CountVarP(&f.debug, "debug", "d", "say what is sent and received; twice: its octets too")
	flags.DurationVar(&f.tretry, "t-retry", 5*time.Second, "`time` after which an unanswered packet is sent again")
	flags.IntVar(&f.nretry, "n-retry", 3, "`times` that an unanswered packet is sent again")
	flags.BoolVar(&f.forwarder, "fe", false, "speak as a client behind a forwarder (forwarder encapsulation)")
	flags.StringVar(&f.nodeID, "wlnid", fmt.Sprintf("%X", pid), "wireless node `id` of the client behind the forwarder")
	f.secure.add(flags)
	flags.StringVar(&f.willTopic, "will-topic", "", "`topic` of the will, which the gateway publishes if it loses the client")
	flags.StringVar(&f.willPayload, "will-payload", "", "`message` of the will")
	flags.IntVar(&f.willQoS, "will-qos", 0, "`QoS` of the will: 0, 1 or 2")
	flags.BoolVar(&f.willRetain, "will-retain", false, "retain the will")
	flags.SortFlags = false
}

// check finds values that cannot be used together.
func (f *clientFlags) check(flags *pflag.FlagSet) error {
	if f.willTopic == "" {
		for _, name := range []string{"will-payload", "will-qos", "will-retain"} {
			if flags.Changed(name) {
				return fmt.Errorf("--%s needs --will-topic", name)
			}
		}
	} else if !mqttsn.ValidTopicName([]byte(f.willTopic)) {
		return fmt.Errorf("--will-topic %q is not a topic name: UTF-8 without control characters, + and #", f.willTopic)
	}
	switch {
	case f.willQoS < 0 || f.willQoS > 2:
		return fmt.Errorf("--will-qos is %d, must be 0, 1 or 2", f.willQoS)
	case f.port == 0:
		return errors.New("--port is 0, must be 1 to 65535")
	case f.tretry <= 0:
		return fmt.Errorf("--t-retry is %v, must be more than 0", f.tretry)
	case f.nretry < 0:
		return fmt.Errorf("--n-retry is %d, must be 0 or more", f.nretry)
	case !mqttsn.ValidUTF8([]byte(f.id)):
		return fmt.Errorf("--id %q is not UTF-8 without control characters", f.id)
	case !f.forwarder && flags.Changed("wlnid"):
		return errors.New("--wlnid needs --fe")
	case f.forwarder && (len(f.nodeID) < 1 || len(f.nodeID) > mqttsn.MaxNodeID):
		return fmt.Errorf("--wlnid has %d octets, must have 1 to %d", len(f.nodeID), mqttsn.MaxNodeID)
	}
	if err := f.secure.check(flags); err != nil {
		return err
	}
	f.stableID = flags.Changed("id")
	if f.secure.on && !flags.Changed("port") {
		f.port = securePort
	}
	if f.secure.name != "" && !f.stableID {
		f.id, f.stableID = f.secure.name, true // the gateway lets it have no other
	}
	return nil
}

func (f *clientFlags) address() string {
	return net.JoinHostPort(f.host, strconv.Itoa(int(f.port)))
}

// dialogue is one run of gateway pub or gateway sub with the gateway.
type dialogue struct {
	*client.Client
	flags *clientFlags
	log   io.Writer

	user context.Context // ends with a signal
	// ctx ends with the cause when nothing more can come of it: a signal, or the gateway
	// is lost.
	ctx  context.Context
	stop context.CancelCauseFunc

	mu        sync.Mutex
	connected bool
	refusal   error // of a QoS 0 message, which no call waits for
}

// open makes the dialogue; no packet is sent yet. It ends with ctx, which is the command's
// own or descends from it. onMessage may be nil.
func (f *clientFlags) open(ctx context.Context, cmd *cobra.Command, onMessage func(client.Message)) (*dialogue, error) {
	d := &dialogue{flags: f, log: cmd.ErrOrStderr(), user: cmd.Context()}
	d.ctx, d.stop = context.WithCancelCause(ctx)
	socket, err := f.dial(d.ctx, d.log)
	if err != nil {
		d.stop(nil)
		return nil, err
	}
	var conn client.Conn = socket
	if f.forwarder {
		if conn, err = client.Forwarded(socket, []byte(f.nodeID)); err != nil {
			d.stop(nil)
			return nil, errors.Join(err, socket.Close())
		}
	}
	o := client.Options{
		ClientID:  f.id,
		Tretry:    f.tretry,
		Nretry:    f.nretry,
		OnMessage: onMessage,
		OnError:   d.onError,
		OnLost:    d.stop,
	}
	if f.nretry == 0 {
		o.Nretry = -1
	}
	if f.debug > 0 {
		o.Trace = d.trace
	}
	d.Client = client.New(conn, o)
	return d, nil
}

// dial opens a socket, with DTLS a connection.
func (f *clientFlags) dial(ctx context.Context, log io.Writer) (net.Conn, error) {
	if f.secure.on {
		return f.dialSecure(ctx, log)
	}
	dialer := net.Dialer{}
	if f.localPort != 0 {
		dialer.LocalAddr = &net.UDPAddr{Port: int(f.localPort)}
	}
	udp, err := dialer.DialContext(ctx, "udp", f.address())
	if err != nil {
		return nil, explainDial(f, err)
	}
	return udp, nil
}

// connect connects to the gateway.
func (d *dialogue) connect(cleanSession bool) error {
	f := d.flags
	o := client.ConnectOptions{CleanSession: cleanSession, KeepAlive: time.Duration(f.keepAlive) * time.Second}
	if f.willTopic != "" {
		o.Will = &client.Will{
			Topic: f.willTopic, Payload: []byte(f.willPayload), QoS: mqttsn.QoS(f.willQoS), Retain: f.willRetain,
		}
	}
	if err := d.Connect(d.ctx, o); err != nil {
		return err
	}
	d.mu.Lock()
	d.connected = true
	d.mu.Unlock()
	return nil
}

// leave ends the connection in good order: disconnected, or asleep with -e. It works
// after the dialogue's end too; after a signal it asks only once.
func (d *dialogue) leave() error {
	ctx := context.WithoutCancel(d.ctx)
	if d.user.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.flags.tretry)
		defer cancel()
	}
	if d.flags.sleep > 0 {
		return d.Sleep(ctx, time.Duration(d.flags.sleep)*time.Second)
	}
	return d.Disconnect(ctx)
}

// close gives up the socket. What it could complain of has no consequence any more.
func (d *dialogue) close() {
	d.stop(nil)
	_ = d.Close()
}

// onError hears what concerns no call.
func (d *dialogue) onError(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var code *client.ReturnCodeError
	switch {
	case errors.As(err, &code):
		if d.refusal == nil {
			d.refusal = err
		}
	case errors.Is(err, syscall.ECONNREFUSED) && !d.connected:
		d.stop(err) // why wait, and for what
	case errors.Is(err, client.ErrDropped) && d.ctx.Err() != nil: // nobody wants it any more
	default:
		fmt.Fprintln(d.log, "gateway: warning:", err)
	}
}

// refused is the first refusal that no call has returned.
func (d *dialogue) refused() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refusal
}

// trace is -d: what goes over the wire, to people who look for a mistake.
func (d *dialogue) trace(sent bool, datagram []byte) {
	direction := "received"
	if sent {
		direction = "sent    "
	}
	what := "what is no packet"
	if typ, _, err := mqttsn.Peek(datagram); err == nil {
		what = typ.String()
	}
	line := fmt.Sprintf("%s %s %5d octets  %s", time.Now().Format("15:04:05.000"), direction, len(datagram), what)
	if d.flags.debug > 1 {
		line += fmt.Sprintf("  % X", datagram)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintln(d.log, line)
}

// interrupted reports whether err is only what the user's signal has caused.
func (d *dialogue) interrupted(err error) bool {
	return err != nil && d.user.Err() != nil && errors.Is(err, context.Cause(d.user))
}
