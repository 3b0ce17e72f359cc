package websocket

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
)

// Origins says the pages of which sites may connect: browsers tell with each request where
// its page has come from. Elements are scheme://host[:port] or host[:port], either of them a
// pattern of path.Match, or * for all. Without any, those pages may connect that have come
// from the host that they connect to, whatever the port: without TLS only if that is an IP
// address or localhost. For a page can have come from a name that its owner has since let
// stand for an address of ours, and then it would pass for one of ours.
//
// Clients that are no browsers say nothing of the kind, and may connect.
type Origins []string

// Validate reports the first element that is none.
func (o Origins) Validate() error {
	for _, pattern := range o {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" || strings.HasSuffix(pattern, "/") {
			return fmt.Errorf("%q is not allowed: write scheme://host:port or host:port as the browser has it, such as https://example.com, a pattern of such, or * for all", pattern)
		}
	}
	return nil
}

// check says whether a page may connect to host.
func (o Origins) check(origin, host string, secure bool) error {
	if origin == "" {
		return nil
	}
	from, err := url.Parse(origin)
	if err != nil {
		from = new(url.URL)
	}
	for _, pattern := range o {
		text := from.Host
		if pattern == "*" || strings.Contains(pattern, "://") {
			text = origin
		}
		if pattern == "*" || strings.EqualFold(pattern, text) {
			return nil
		}
		if ok, _ := path.Match(strings.ToLower(pattern), strings.ToLower(text)); ok && text != "" {
			return nil
		}
	}
	to := (&url.URL{Host: host}).Hostname()
	if len(o) == 0 && from.Host != "" && strings.EqualFold(from.Hostname(), to) && (secure || isFixed(to)) {
		return nil
	}
	return fmt.Errorf("%w: it has come from %q and connects to %q", ErrOrigin, origin, host)
}

// isFixed reports whether nobody but this machine says what a host stands for.
func isFixed(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}

// headerHas reports whether a list in a header has an element.
func headerHas(h http.Header, key, want string) bool {
	for _, line := range h.Values(key) {
		for name := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(name), want) {
				return true
			}
		}
	}
	return false
}
