package dtls

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"mqttsn-gateway/gateway/secret"
)

// Bounds of what is asked and remembered of the server at key_server.
const (
	maxLookups   = 16 // at a time
	maxFound     = 1 << 16
	maxAbsent    = 1 << 12 // strangers cannot push out who is known
	absentFor    = 30 * time.Second
	doubtAfter   = 10 * time.Second // a key that does not fit is not asked for again before
	maxKeyAnswer = 4 << 10          // octets
)

// lookup asks a server for the keys of identities that psk_file does not have: GET
// key_server/IDENTITY is answered with {"client": IDENTITY, "psk": KEY}, KEY in base64, or with
// status 404. Handshakes wait for it, nothing else does.
type lookup struct {
	base           string
	user, password string
	timeout, life  time.Duration
	client         *http.Client
	slots          chan struct{}

	mu     sync.Mutex // guards what follows
	found  map[string]found
	absent map[string]time.Time // until when
	asking map[string]*question
}

type found struct {
	key    []byte
	at     time.Time
	doubts bool // it has not fitted
}

// question is a request under way. Its fields are set when done is closed.
type question struct {
	done chan struct{}
	key  []byte // nil: there is none
	err  error
}

// newLookup reads the files that belong to key_server. Errors begin with the option's key.
func newLookup(o *Options) (*lookup, error) {
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: o.KeyServerTimeout, MaxIdleConnsPerHost: maxLookups, IdleConnTimeout: time.Minute,
		MaxResponseHeaderBytes: 16 << 10,
	}
	l := &lookup{
		base: strings.TrimSuffix(o.KeyServer, "/") + "/", user: o.KeyServerUser, timeout: o.KeyServerTimeout, life: o.KeyServerLifetime,
		client: &http.Client{
			Transport: transport,
			// The password is for this server alone.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		slots: make(chan struct{}, maxLookups),
		found: map[string]found{}, absent: map[string]time.Time{}, asking: map[string]*question{},
	}
	if o.KeyServerPasswordFile != "" {
		password, err := secret.ReadPassword(o.KeyServerPasswordFile)
		if err != nil {
			return nil, fmt.Errorf("key_server_password_file: %w", err)
		}
		l.password = string(password)
	}
	if o.KeyServerCAFile != "" {
		pool, err := secret.Authorities(o.KeyServerCAFile)
		if err != nil {
			return nil, fmt.Errorf("key_server_ca_file: %w", err)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return l, nil
}

// validateKeyServer reports what cannot work of key_server and its companions.
func (o *Options) validateKeyServer() error {
	if o.KeyServer == "" {
		for key, value := range map[string]string{
			"key_server_user": o.KeyServerUser, "key_server_password_file": o.KeyServerPasswordFile, "key_server_ca_file": o.KeyServerCAFile,
		} {
			if value != "" {
				return fmt.Errorf("%s: %q is of no use without key_server", key, value)
			}
		}
		return nil
	}
	u, err := url.Parse(o.KeyServer)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("key_server: it is not allowed: write https://HOST/PATH")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("key_server: a user, a query or a fragment is not allowed: see key_server_user and key_server_password_file")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return fmt.Errorf("key_server: %q would send keys unencrypted: use https, or a server on this host", o.KeyServer)
	case o.KeyServerUser != "" && o.KeyServerPasswordFile == "":
		return fmt.Errorf("key_server_user: %q is not allowed without key_server_password_file", o.KeyServerUser)
	}
	return nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// close ends connections to the server that nobody uses.
func (l *lookup) close() {
	if l != nil {
		l.client.CloseIdleConnections()
	}
}

// find returns the key of an identity, nil if it has none. It waits for the server as long as
// ctx and key_server_timeout allow. Several who ask for one identity wait for one answer.
func (l *lookup) find(ctx context.Context, identity string) (key []byte, err error) {
	if identity == "" || identity == "." || identity == ".." || len(identity) > maxIdentity || !utf8.ValidString(identity) {
		return nil, nil
	}
	l.mu.Lock()
	now := time.Now()
	if f, ok := l.found[identity]; ok && now.Sub(f.at) < l.life && (!f.doubts || now.Sub(f.at) < doubtAfter) {
		l.mu.Unlock()
		return f.key, nil
	}
	if now.Before(l.absent[identity]) {
		l.mu.Unlock()
		return nil, nil
	}
	q := l.asking[identity]
	if q == nil {
		q = &question{done: make(chan struct{})}
		l.asking[identity] = q
		go l.ask(identity, q)
	}
	l.mu.Unlock()
	select {
	case <-q.done:
		return q.key, q.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// doubt notes that somebody has not had the key that is remembered for the identity: it may
// have another by now.
func (l *lookup) doubt(identity string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, ok := l.found[identity]; ok {
		f.doubts = true
		l.found[identity] = f
	}
}

// ask answers q and remembers the answer, unless it is an error.
func (l *lookup) ask(identity string, q *question) {
	ctx, cancel := context.WithTimeout(context.Background(), l.timeout)
	defer cancel()
	select {
	case l.slots <- struct{}{}:
		q.key, q.err = l.request(ctx, identity)
		<-l.slots
	case <-ctx.Done():
		q.err = fmt.Errorf("%d requests are under way, and none has ended within key_server_timeout", maxLookups)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(q.done)
	delete(l.asking, identity)
	switch {
	case q.err != nil:
	case q.key == nil:
		delete(l.found, identity)
		makeRoom(l.absent, maxAbsent)
		l.absent[identity] = time.Now().Add(absentFor)
	default:
		delete(l.absent, identity)
		makeRoom(l.found, maxFound)
		l.found[identity] = found{key: q.key, at: time.Now()}
	}
}

// makeRoom takes any one out of a full map: who asks cannot choose which.
func makeRoom[V any](m map[string]V, limit int) {
	for key := range m {
		if len(m) < limit {
			return
		}
		delete(m, key)
	}
}

// request asks the server. Its errors show neither key nor password.
func (l *lookup) request(ctx context.Context, identity string) (key []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base+url.PathEscape(identity), nil)
	if err != nil {
		return nil, errors.New("the request cannot be made")
	}
	r.Header.Set("Accept", "application/json")
	switch {
	case l.user != "":
		r.SetBasicAuth(l.user, l.password)
	case l.password != "":
		r.Header.Set("Authorization", "Bearer "+l.password)
	}
	answer, err := l.client.Do(r)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return nil, errors.New("no answer within key_server_timeout")
		}
		return nil, errors.Unwrap(err) // without the URL
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxKeyAnswer+1))
	switch {
	case answer.StatusCode == http.StatusNotFound:
		return nil, nil
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the server answers with status %d", answer.StatusCode)
	case err != nil:
		return nil, errors.New("the answer broke off")
	case len(text) > maxKeyAnswer:
		return nil, fmt.Errorf("the answer is longer than %d octets", maxKeyAnswer)
	}
	return readKeyAnswer(text, identity)
}

// readKeyAnswer reads the server's answer for an identity.
func readKeyAnswer(text []byte, identity string) (key []byte, err error) {
	var a struct {
		Client string `json:"client"`
		PSK    []byte `json:"psk"`
	}
	switch err := json.Unmarshal(text, &a); {
	case err != nil: // which may show what is there
		return nil, errors.New(`the answer is not {"client": IDENTITY, "psk": KEY} with the key in base64`)
	case a.Client != "" && a.Client != identity:
		return nil, errors.New("the answer is about another client")
	case len(a.PSK) == 0 || len(a.PSK) > maxKey:
		return nil, fmt.Errorf("the key in the answer has %d octets: 1 to %d", len(a.PSK), maxKey)
	}
	return a.PSK, nil
}
