package dtls

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"reflect"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/ciphersuite"
	"github.com/pion/dtls/v3/pkg/crypto/elliptic"
	"github.com/pion/dtls/v3/pkg/crypto/prf"
	"github.com/pion/dtls/v3/pkg/protocol/recordlayer"
)

// An identity may have two keys while it gets another. The library asks for one as soon as
// the client has named its identity, and cannot change its mind. So the question is answered
// late: when the client's first encrypted record is there, which it sends together with its
// identity, each key is tried on it, and the library gets the one that opens it (conn.choose).
// Client and network notice nothing, and nobody has to remember which key a device has.
//
// What the keys of a record are made from, the messages so far and the share of an ECDHE
// secret, the library has no way to tell. They are read as pioncookie.go does it: by reflect,
// never written, and an error at the start if the library has changed.

// trial is a handshake as far as it has come when the library asks for the pre-shared key.
type trial struct {
	suite                      dtls.CipherSuiteID
	transcript                 []byte // sha256 of the messages from the ClientHello to the ClientKeyExchange
	clientRandom, serverRandom []byte
	// Of ECDHE only; private is nil without it.
	private, public []byte
	curve           elliptic.Curve
}

// opener tries a key on a record.
type opener interface {
	Decrypt(header recordlayer.Header, record []byte) ([]byte, error)
}

// The messages of a handshake with a pre-shared key until then, and whether the client sends
// them (RFC 7627, 3). Of several of a kind the last one counts.
var trialMessages = []struct {
	kind     byte
	isClient bool
}{{clientHello, true}, {2, false}, {12, false}, {14, false}, {16, true}}

// newTrial reads the state of conn, a *dtls.Conn. It must be called by the callback with
// which the library asks for a key: nothing else changes that state meanwhile.
func newTrial(conn any) (*trial, error) {
	found, err := flightsOf(conn)
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	for _, message := range found {
		hash.Write(message)
	}
	t := &trial{transcript: hash.Sum(nil)}
	const random = handshakeHeader + 2
	hello, answer := found[0], found[1]
	if len(hello) < random+randomSize || len(answer) < random+randomSize+1 {
		return nil, errLayout
	}
	t.clientRandom, t.serverRandom = hello[random:random+randomSize], answer[random:random+randomSize]
	suite := answer[random+randomSize:]
	if suite = suite[1:]; len(suite) < int(answer[random+randomSize])+2 {
		return nil, errLayout
	}
	t.suite = dtls.CipherSuiteID(binary.BigEndian.Uint16(suite[answer[random+randomSize]:]))
	if t.suite == dtls.TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256 {
		return t, t.readShares(conn, found[4])
	}
	return t, nil
}

// readShares takes the client's share from its ClientKeyExchange, behind the identity, and
// ours from the library.
func (t *trial) readShares(conn any, exchange []byte) error {
	at, ok := handshakeHeader, len(exchange) > handshakeHeader
	at, ok = skipVector(exchange, at, 2, 0, 1<<16, ok)
	end, ok := skipVector(exchange, at, 1, 1, 255, ok)
	if !ok {
		return errLayout
	}
	t.public = exchange[at+1 : end]
	var err error
	t.private, t.curve, err = shareOf(conn)
	return err
}

// with makes what opens the client's records if it has that key.
func (t *trial) with(key []byte) (opener, error) {
	secret := prf.PSKPreMasterSecret(key)
	if t.private != nil {
		var err error
		if secret, err = prf.EcdhePSKPreMasterSecret(key, t.public, t.private, t.curve); err != nil {
			return nil, err
		}
	}
	master, err := prf.ExtendedMasterSecret(secret, t.transcript, sha256.New)
	if err != nil {
		return nil, err
	}
	keyLength, ivLength := 16, 4
	if t.private != nil {
		keyLength, ivLength = 32, 12
	}
	k, err := prf.GenerateEncryptionKeys(master, t.clientRandom, t.serverRandom, 0, keyLength, ivLength, sha256.New)
	if err != nil {
		return nil, err
	}
	switch t.suite {
	case dtls.TLS_PSK_WITH_AES_128_CCM_8:
		return ciphersuite.NewCCM(ciphersuite.CCMTagLength8, k.ServerWriteKey, k.ServerWriteIV, k.ClientWriteKey, k.ClientWriteIV)
	case dtls.TLS_PSK_WITH_AES_128_CCM:
		return ciphersuite.NewCCM(ciphersuite.CCMTagLength, k.ServerWriteKey, k.ServerWriteIV, k.ClientWriteKey, k.ClientWriteIV)
	case dtls.TLS_PSK_WITH_AES_128_GCM_SHA256:
		return ciphersuite.NewGCM(k.ServerWriteKey, k.ServerWriteIV, k.ClientWriteKey, k.ClientWriteIV)
	}
	return ciphersuite.NewChaCha20Poly1305(k.ServerWriteKey, k.ServerWriteIV, k.ClientWriteKey, k.ClientWriteIV)
}

// opens reports whether o's key is that of the record.
func opens(o opener, record []byte) bool {
	var header recordlayer.Header
	if record[0] == typeCID {
		header.ConnectionID = make([]byte, cidSize)
	}
	_, err := o.Decrypt(header, bytes.Clone(record))
	return err == nil
}

// flightsOf finds the trialMessages of conn, nil for those that are not there, in
// conn.handshakeCache.cache.
func flightsOf(conn any) (found [5][]byte, err error) {
	v, ok := inside(reflect.ValueOf(conn), "handshakeCache")
	if v, ok = field(v, ok, "cache", reflect.Slice); !ok || v.Type().Elem().Kind() != reflect.Pointer || v.Type().Elem().Elem().Kind() != reflect.Struct {
		return found, errLayout
	}
	item := reflect.Zero(v.Type().Elem().Elem())
	for i := range v.Len() + 1 { // the first is empty: it shows that the fields are there
		if i > 0 {
			item = v.Index(i - 1).Elem()
		}
		kind, ok1 := field(item, true, "typ", reflect.Uint8)
		isClient, ok2 := field(item, true, "isClient", reflect.Bool)
		epoch, ok3 := field(item, true, "epoch", reflect.Uint16)
		data, ok4 := field(item, true, "data", reflect.Slice)
		if !ok1 || !ok2 || !ok3 || !ok4 || data.Type().Elem().Kind() != reflect.Uint8 {
			return found, errLayout
		}
		for j, m := range trialMessages {
			if epoch.Uint() == 0 && kind.Uint() == uint64(m.kind) && isClient.Bool() == m.isClient {
				found[j] = data.Bytes()
			}
		}
	}
	return found, nil
}

// shareOf finds our part of the ECDHE secret: conn.state.localKeypair.
func shareOf(conn any) (private []byte, curve elliptic.Curve, err error) {
	v, ok := inside(reflect.ValueOf(conn), "state")
	v, ok = field(v, ok, "localKeypair", reflect.Pointer)
	if !ok || v.Type().Elem().Kind() != reflect.Struct {
		return nil, 0, errLayout
	}
	pair := reflect.Zero(v.Type().Elem()) // before the handshake there is none
	if !v.IsNil() {
		pair = v.Elem()
	}
	key, ok1 := field(pair, true, "PrivateKey", reflect.Slice)
	number, ok2 := field(pair, true, "Curve", reflect.Uint16)
	if !ok1 || !ok2 || key.Type().Elem().Kind() != reflect.Uint8 {
		return nil, 0, errLayout
	}
	return key.Bytes(), elliptic.Curve(number.Uint()), nil
}

// inside is the struct in, or behind, that field of the one that v points to.
func inside(v reflect.Value, name string) (reflect.Value, bool) {
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return v, false
	}
	if v = v.Elem().FieldByName(name); v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	return v, v.Kind() == reflect.Struct
}

// field is the field of that name and kind of a struct; ok is false, and remains so, if
// there is none.
func field(v reflect.Value, ok bool, name string, kind reflect.Kind) (reflect.Value, bool) {
	if !ok {
		return v, false
	}
	v = v.FieldByName(name)
	return v, v.Kind() == kind
}

// checkLayout reports whether the library keeps what is read and written inside of it where
// this file and pioncookie.go expect it.
func checkLayout(conn any) error {
	if _, err := flightsOf(conn); err != nil {
		return err
	}
	if _, _, err := shareOf(conn); err != nil {
		return err
	}
	return adoptCookie(conn, nil)
}
