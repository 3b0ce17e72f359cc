package upstream

import (
	"fmt"
	"slices"
	"strings"

	"mqttsn-gateway/broker/remote"
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

// endpoints are the brokers, in the order in which they are tried.
func (o Options) endpoints() ([]remote.Endpoint, error) {
	var all []remote.Endpoint
	urls := o.URLs()
	if urls == nil {
		urls = []string{""}
	}
	for _, one := range urls {
		e, err := remote.Parse(one)
		if err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
		if slices.ContainsFunc(all, func(other remote.Endpoint) bool { return address(other) == address(e) }) {
			return nil, fmt.Errorf("url: %s is given twice", address(e))
		}
		all = append(all, e)
	}
	return all, nil
}

// address is what a broker is called here, and in the log.
func address(e remote.Endpoint) string {
	if e.Scheme == "mqtt" {
		return e.Address()
	}
	return e.String()
}

// overTLS reports whether a broker is spoken to over TLS.
func overTLS(all []remote.Endpoint) bool { return slices.ContainsFunc(all, remote.Endpoint.TLS) }
