package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"mqttsn-gateway/transports/dtls"
)

// secureFlags are the flags for DTLS that gateway pub and gateway sub share. Their names
// are those of mosquitto_pub, but for keys: these are in a file, since everybody on a
// machine can see its command lines.
type secureFlags struct {
	on       bool
	identity string
	pskFile  string
	caFile   string
	certFile string
	keyFile  string
	insecure bool

	key  []byte
	name string // what the client proves to be
}

// securePort is the usual port of MQTT-SN over DTLS.
const securePort = 8883

func (s *secureFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&s.on, "dtls", false, fmt.Sprintf("encrypt with DTLS; the port is then %d unless given; the next six imply it", securePort))
	flags.StringVar(&s.pskFile, "psk-file", "", "`file` of the pre-shared key: a line identity:hexkey, as in the gateway's dtls.psk_file")
	flags.StringVar(&s.identity, "psk-identity", "", "`name` of the key in the file; not needed if there is but one")
	flags.StringVar(&s.caFile, "cafile", "", "PEM `file` of the authorities that the gateway's certificate may be from; default those that this machine knows")
	flags.StringVar(&s.certFile, "cert", "", "PEM `file` of the client's certificate")
	flags.StringVar(&s.keyFile, "key", "", "PEM `file` of the private key of --cert")
	flags.BoolVar(&s.insecure, "insecure", false, "do not check the gateway's certificate: for trying things out")
}

// check finds flags that do not go together, and reads the key.
func (s *secureFlags) check(flags *pflag.FlagSet) error {
	for _, name := range []string{"psk-file", "psk-identity", "cafile", "cert", "key", "insecure"} {
		if flags.Changed(name) {
			if flags.Changed("dtls") && !s.on {
				return fmt.Errorf("--%s needs DTLS, and --dtls=false forbids it", name)
			}
			s.on = true
		}
	}
	if !s.on {
		return nil
	}
	for _, name := range []string{"cafile", "cert", "key", "insecure"} {
		if flags.Changed(name) && (s.pskFile != "" || s.identity != "") {
			return fmt.Errorf("--%s and --psk-file do not go together: with a pre-shared key there are no certificates", name)
		}
	}
	switch {
	case flags.Changed("fe"):
		return errors.New("--fe and --dtls do not go together: behind a forwarder, the connection to the gateway is the forwarder's")
	case s.identity != "" && s.pskFile == "":
		return errors.New("--psk-identity needs --psk-file: the file with a line identity:hexkey (keys on command lines can be seen by everybody)")
	case (s.certFile == "") != (s.keyFile == ""):
		return errors.New("--cert and --key need each other: the client's certificate and its private key")
	case s.insecure && s.caFile != "":
		return errors.New("give either --cafile or --insecure: how the gateway's certificate is checked, or that it is not")
	}
	return s.load()
}

// load reads the files that say who the client is.
func (s *secureFlags) load() error {
	if s.pskFile != "" {
		name, key, err := dtls.LoadKey(s.pskFile, s.identity)
		if err != nil {
			return fmt.Errorf("%w (--psk-file, --psk-identity)", err)
		}
		s.identity, s.key = name, key
	}
	var err error
	if s.name, err = s.options().Name(); err != nil {
		return inFlags(err)
	}
	return nil
}

func (s *secureFlags) options() dtls.ClientOptions {
	return dtls.ClientOptions{
		Identity: s.identity, Key: s.key,
		CertificateFile: s.certFile, KeyFile: s.keyFile, CAFile: s.caFile,
		Insecure: s.insecure, ConnectionID: true,
	}
}

// inFlags names flags in place of options.
func inFlags(err error) error {
	for key, flag := range map[string]string{"certificate_file: ": "--cert", "key_file: ": "--key", "ca_file: ": "--cafile"} {
		if text, ok := strings.CutPrefix(err.Error(), key); ok {
			return fmt.Errorf("%s: %s", flag, strings.ReplaceAll(text, " with key_file ", " with --key "))
		}
	}
	return err
}

// dialSecure makes the DTLS connection. It may take as long as a CONNECT may.
func (f *clientFlags) dialSecure(ctx context.Context, log io.Writer) (net.Conn, error) {
	if f.secure.insecure {
		fmt.Fprintln(log, "gateway: warning: the gateway's certificate is not checked (--insecure): somebody on the way could read and change everything")
	}
	limit := f.tretry * time.Duration(f.nretry+1)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	o := f.secure.options()
	o.LocalPort = f.localPort
	conn, err := dtls.Dial(ctx, f.address(), o)
	if err != nil {
		return nil, f.explainSecure(err, limit)
	}
	return conn, nil
}

// explainSecure says what there is to do about a DTLS connection that was not made.
func (f *clientFlags) explainSecure(err error, limit time.Duration) error {
	because := func(advice string) error { return fmt.Errorf("%w: %s", err, advice) }
	switch {
	case errors.Is(err, dtls.ErrKeyRefused), errors.Is(err, dtls.ErrUnknownIdentity):
		return because(fmt.Sprintf("compare the line of %q in %s with that in the gateway's dtls.psk_file", f.secure.identity, f.secure.pskFile))
	case errors.Is(err, dtls.ErrNotTrusted):
		return because("name the file of the authority that it is from with --cafile (the certificate itself will do), use the host name that it is for with -h, or try with --insecure")
	case errors.Is(err, dtls.ErrCertificateRefused) && f.secure.certFile == "":
		return because("give --cert and --key")
	case errors.Is(err, dtls.ErrCertificateRefused):
		return because("the certificate of --cert has to be from the authority in the gateway's dtls.client_ca_file")
	case errors.Is(err, dtls.ErrNothingInCommon) && f.secure.pskFile == "":
		return because("try --psk-file")
	case errors.Is(err, dtls.ErrNothingInCommon):
		return because("it may have no dtls.psk_file: try --cafile")
	case errors.Is(err, dtls.ErrTimeout), errors.Is(err, dtls.ErrNoAnswer):
		return because(fmt.Sprintf("nothing more within %v; does a gateway listen for DTLS there (gateway --dtls), and does a firewall let UDP pass?", limit))
	}
	return inFlags(explainDial(f, err))
}
