package dnssd

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// How long others may keep our records, in seconds (RFC 6762, 10).
const (
	hostTTL    = 120
	serviceTTL = 4500
)

// unique marks records that nobody else has (RFC 6762, 10.2).
const unique = dnsmessage.ClassINET | 1<<15

// Keys of the TXT record.
const (
	keyVersion = "version" // of MQTT-SN
	keyID      = "gwid"
	keyDTLS    = "dtls" // the port
)

// version is that of the protocol that the service speaks.
const version = "1.2"

// Service is what is announced.
type Service struct {
	// Addr is where the gateway listens for MQTT-SN over UDP. An unspecified address
	// stands for all of this machine's.
	Addr netip.AddrPort
	// GatewayID is the gateway's id in ADVERTISE and GWINFO.
	GatewayID byte
	// DTLSPort is where it listens for MQTT-SN over DTLS; 0 if it does not.
	DTLSPort uint16
}

// text is the TXT record.
func (s Service) text() [][2]string {
	text := [][2]string{{keyVersion, version}, {keyID, strconv.Itoa(int(s.GatewayID))}}
	if s.DTLSPort != 0 {
		text = append(text, [2]string{keyDTLS, strconv.Itoa(int(s.DTLSPort))})
	}
	return text
}

// announcement is all that there is to know of the service on an interface with these
// addresses; goodbye takes it back (RFC 6762, 8.3 and 10.1).
func announcement(n names, s Service, addrs []netip.Addr, goodbye bool) ([]byte, error) {
	var failed error
	name := func(text string) dnsmessage.Name {
		parsed, err := dnsmessage.NewName(text)
		if err != nil {
			failed = err
		}
		return parsed
	}
	full, host := name(n.full()), name(n.host+".")
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}}
	add := func(name dnsmessage.Name, class dnsmessage.Class, ttl uint32, body dnsmessage.ResourceBody) {
		if goodbye {
			ttl = 0
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: name, Class: class, TTL: ttl}, Body: body,
		})
	}
	add(name(service), dnsmessage.ClassINET, serviceTTL, &dnsmessage.PTRResource{PTR: full})
	add(full, unique, hostTTL, &dnsmessage.SRVResource{Port: s.Addr.Port(), Target: host})
	var txt []string
	for _, pair := range s.text() {
		txt = append(txt, pair[0]+"="+pair[1])
	}
	add(full, unique, hostTTL, &dnsmessage.TXTResource{TXT: txt})
	for _, a := range addrs {
		switch {
		case goodbye: // another gateway on this machine has the same host
		case a.Is4():
			add(host, unique, hostTTL, &dnsmessage.AResource{A: a.As4()})
		default:
			add(host, unique, hostTTL, &dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	if failed != nil {
		return nil, failed
	}
	return m.Pack()
}

// overlooked reports whether a datagram asks for the service in a way that the library
// leaves without an answer: it takes a question that comes with the answers which the
// asker knows already for an answer, also when ours is not among them (RFC 6762, 7.1).
func overlooked(n names, b []byte) bool {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || h.Response {
		return false
	}
	asked, questions := false, 0
	for ; ; questions++ {
		q, err := p.Question()
		if err != nil {
			break
		}
		asked = asked || q.Type == dnsmessage.TypePTR && strings.EqualFold(q.Name.String(), service)
	}
	if !asked || p.SkipAllQuestions() != nil {
		return false
	}
	answers := 0
	for ; ; answers++ {
		a, err := p.AnswerHeader()
		if err != nil {
			break
		}
		if a.Type != dnsmessage.TypePTR {
			if p.SkipAnswer() != nil {
				return false
			}
			continue
		}
		ptr, err := p.PTRResource()
		if err != nil {
			return false
		}
		if a.TTL >= serviceTTL/2 && strings.EqualFold(a.Name.String(), service) && strings.EqualFold(ptr.PTR.String(), n.full()) {
			return false
		}
	}
	return questions <= answers
}
