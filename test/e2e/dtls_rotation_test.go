package e2e

import (
	"os"
	"strings"
	"testing"
)

// TestDTLSKeyIsReplaced: a device gets another key while it is connected, as the manual says,
// and is cut off when its identity is removed. A file that is broken on the way changes nothing.
func TestDTLSKeyIsReplaced(t *testing.T) {
	t.Parallel()
	file := pskFile(t, "cli-1", "cli-2")
	n := newTunnels(t, "cli-1")
	n.flags = append(n.flags, "--set", "dtls.psk_file="+file)
	r := newRigOn(t, overUDP, n, embedded)
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const other = "0123456789abcdef0123456789abcdef"
	put := func(text, logged string) {
		t.Helper()
		before := r.logged(logged)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the file is read", func() bool { return r.logged(logged) > before })
	}
	gets := func(key string, in bool) {
		t.Helper()
		result := "wrong_key"
		if in {
			result = "accepted"
		}
		before := r.handshakes(result)
		c := dialOpenSSL(t, n.addr, withKey("cli-1", key)...)
		c.mayEnd = true
		eventually(t, "a handshake is "+result, func() bool { return r.handshakes(result) > before })
		c.leave()
	}
	d := r.as("cli-1", "cli-1")
	ready(d, keepSession)
	put(string(old)+"cli-1:"+other+"\n", "read anew")
	r.stillThere(d)
	gets(other, true)
	put(string(old)+"cli-1:nonsense\n", "stays in use")
	gets(other, true)
	put(strings.ReplaceAll(string(old), pskOf("cli-1"), other), "read anew")
	r.stillThere(d)
	gets(other, true)
	gets(pskOf("cli-1"), false)
	d.conn.(*tunnel).mayEnd = true
	put("cli-2:"+other+"\n", "their identities any more")
	eventually(t, "the connection is closed", func() bool {
		return r.gateway.linkMetric(t, "dtls_connections_closed_total", `reason="removed"`) == 1
	})
	for _, key := range []string{other, pskOf("cli-1")} {
		if strings.Contains(r.gateway.log.String(), key) {
			t.Error("there is a key in the log")
		}
	}
}
