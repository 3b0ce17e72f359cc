package upstream

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// URLs are the brokers that URL lists, none if it is empty.
func (o Options) URLs() []string {
	if o.URL == "" {
		return nil
	}
	all := strings.Split(o.URL, ",")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

// addresses are the hosts and ports of the brokers.
func (o Options) addresses() ([]string, error) {
	var all []string
	urls := o.URLs()
	if urls == nil {
		urls = []string{""}
	}
	for _, one := range urls {
		a, err := address(one)
		if err != nil {
			return nil, err
		}
		if slices.Contains(all, a) {
			return nil, fmt.Errorf("url: %s is given twice", a)
		}
		all = append(all, a)
	}
	return all, nil
}

// address is the host and port of one broker.
func address(broker string) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("url: %q is not allowed: %s; write mqtt://HOST or mqtt://HOST:PORT", redact(broker), why)
	}
	if broker == "" {
		return bad("the broker's address is missing")
	}
	u, err := url.Parse(broker)
	if err != nil {
		return bad("it is no URL")
	}
	switch {
	case u.User != nil:
		return bad("a user name and password do not belong into it: use username and password_file")
	case u.Scheme == "mqtts":
		return bad("TLS to the broker (mqtts) is not supported yet")
	case u.Scheme != "mqtt":
		return bad("only the scheme mqtt is supported")
	case u.Hostname() == "":
		return bad("the host is missing")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return bad("nothing may follow the port")
	}
	port := u.Port()
	if port == "" {
		port = "1883"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return bad("the port is not 1 to 65535")
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// redact hides what may be a password in a URL that is not allowed to have one.
func redact(raw string) string {
	if i := bytes.LastIndexByte([]byte(raw), '@'); i >= 0 {
		return "mqtt://...@" + raw[i+1:]
	}
	return raw
}
