package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"mqttsn-gateway/gateway/dnssd"
	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// sighting is a gateway at an address, and how it was heard.
type sighting struct {
	ID        int    `json:"id"` // -1 if it did not say
	Address   string `json:"address"`
	Interface string `json:"interface,omitempty"`
	GWInfo    bool   `json:"gwinfo"`
	ToldBy    string `json:"told_by,omitempty"`           // the client that answered for the gateway
	Advertise uint16 `json:"advertise_seconds,omitempty"` // the period of ADVERTISE
	Name      string `json:"dnssd_name,omitempty"`
	DTLSPort  uint16 `json:"dtls_port,omitempty"`
}

// heard says how.
func (s *sighting) heard() string {
	var ways []string
	if s.GWInfo && s.ToldBy != "" {
		ways = append(ways, "GWINFO from the client at "+s.ToldBy)
	} else if s.GWInfo {
		ways = append(ways, "GWINFO")
	}
	if s.Advertise > 0 {
		ways = append(ways, fmt.Sprintf("ADVERTISE every %v", time.Duration(s.Advertise)*time.Second))
	}
	if s.Name != "" {
		ways = append(ways, "DNS-SD "+strconv.Quote(s.Name)) // quoted: it is a stranger's
	}
	if s.DTLSPort > 0 {
		ways = append(ways, fmt.Sprintf("DTLS on port %d", s.DTLSPort))
	}
	return strings.Join(ways, ", ")
}

// maxSightings bounds what strangers can make this program keep.
const maxSightings = 1000

// sightings are what was heard, by address.
type sightings struct {
	enough int // addresses that end the search; 0: none do
	stop   func()

	mu sync.Mutex
	by map[string]*sighting
}

// note adds what was heard to what is known of a gateway.
func (f *sightings) note(s sighting) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.by[s.Address]
	if known == nil {
		if len(f.by) == maxSightings {
			return
		}
		f.by[s.Address] = &s
	} else {
		if s.ID >= 0 {
			known.ID = s.ID
		}
		known.GWInfo = known.GWInfo || s.GWInfo
		known.Interface = cmp.Or(known.Interface, s.Interface)
		known.Advertise = cmp.Or(s.Advertise, known.Advertise)
		known.Name = cmp.Or(s.Name, known.Name)
		known.DTLSPort = cmp.Or(s.DTLSPort, known.DTLSPort)
		if s.GWInfo && s.ToldBy == "" {
			known.ToldBy = ""
		}
	}
	if f.enough > 0 && len(f.by) >= f.enough {
		f.stop()
	}
}

// receive takes what comes from the network: gateways' packets, and those of clients that
// know one. What else there is, such as this program's own search, does not concern it.
func (f *sightings) receive(batch []transports.Datagram) {
	for _, d := range batch {
		p, err := mqttsn.Decode(d.Data)
		if err != nil {
			continue
		}
		from := d.Addr.String()
		if ap, zone, _ := d.Addr.AddrPort(); zone != 0 {
			from = netip.AddrPortFrom(ap.Addr().WithZone(zoneName(zone)), ap.Port()).String()
		}
		switch p := p.(type) {
		case *mqttsn.GWInfo:
			s := sighting{ID: int(p.GatewayID), Address: from, Interface: interfaceOf(d.Local), GWInfo: true}
			if len(p.Address) > 0 {
				s.Address, s.ToldBy = gatewayAddress(p.Address), from
			}
			f.note(s)
		case *mqttsn.Advertise:
			f.note(sighting{ID: int(p.GatewayID), Address: from, Interface: interfaceOf(d.Local), Advertise: p.Duration})
		}
	}
}

// announced takes what DNS-SD has found.
func (f *sightings) announced(g dnssd.Gateway) {
	f.note(sighting{ID: g.ID, Address: g.Addr.String(), Interface: g.Addr.Addr().Zone(), Name: g.Name, DTLSPort: g.DTLSPort})
}

func (f *sightings) list() []*sighting {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*sighting, 0, len(f.by))
	for _, s := range f.by {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *sighting) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), strings.Compare(a.Address, b.Address))
	})
	return list
}

// gatewayAddress is the GwAdd of a GWINFO. The specification leaves its form to the
// network; on IP an address is usual, with or without a port.
func gatewayAddress(b []byte) string {
	for _, port := range []int{0, 2} {
		if ip, ok := netip.AddrFromSlice(b[:max(len(b)-port, 0)]); ok && port == 0 {
			return ip.String()
		} else if ok {
			return netip.AddrPortFrom(ip, uint16(b[len(b)-2])<<8|uint16(b[len(b)-1])).String()
		}
	}
	return fmt.Sprintf("%X", b)
}

// interfaceOf is the name of the interface at which a datagram arrived, "" if it is not
// known.
func interfaceOf(local transports.Addr) string {
	ap, index, ok := local.AddrPort()
	if !ok {
		return ""
	}
	if index != 0 {
		return zoneName(index)
	}
	all, _ := net.Interfaces() // a name is good to have, no more
	for _, i := range all {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if prefix, ok := a.(*net.IPNet); ok && prefix.IP.Equal(ap.Addr().AsSlice()) {
				return i.Name
			}
		}
	}
	return ""
}

func zoneName(index uint32) string {
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		return i.Name
	}
	return strconv.Itoa(int(index))
}

func printJSON(w io.Writer, list []*sighting) error {
	e := json.NewEncoder(w)
	for _, s := range list {
		if err := e.Encode(s); err != nil {
			return err
		}
	}
	return nil
}

func printTable(w io.Writer, list []*sighting) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, s := range list {
		id := "?"
		if s.ID >= 0 {
			id = strconv.Itoa(s.ID)
		}
		fmt.Fprintf(t, "gateway %s\t%s\t%s\t%s\n", id, s.Address, cmp.Or(s.Interface, "-"), s.heard())
	}
	return t.Flush()
}
