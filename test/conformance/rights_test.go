package conformance

import (
	"crypto/sha512"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"

	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/broker/mqtt"
)

// Clients that have to log in, and may not do everything.

// guarded gives the test a broker with a user "me", whose password is "secret", and with
// these rights.
func (t *T) guarded(acl string) {
	o := auth.DefaultOptions()
	dir := t.TempDir()
	o.PasswordFile, o.ACLFile = filepath.Join(dir, "passwords"), filepath.Join(dir, "acl")
	salt := []byte("salt of 12 o")
	sum := sha512.Sum512(append([]byte("secret"), salt...))
	line := "me:$6$" + base64.StdEncoding.EncodeToString(salt) + "$" + base64.StdEncoding.EncodeToString(sum[:]) + "\n"
	for name, text := range map[string]string{o.PasswordFile: line, o.ACLFile: acl} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatalf("%v", err)
		}
	}
	t.own(settings{
		embedded: func(to *embedded.Options) {
			g, err := auth.New(o, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatalf("%v", err)
			}
			to.Access = g
		},
		mosquitto: "allow_anonymous false\npassword_file " + o.PasswordFile + "\nacl_file " + o.ACLFile,
	})
}

// loggedIn is a change to CONNECT.
func loggedIn(c *mqtt.Connect) { c.Username, c.Password = []byte("me"), []byte("secret") }

var (
	_ = statement("MQTT-3.1.4-2b MQTT-3.2.2-7b", both, "a client without the right user name and password is not let in", func(t *T) {
		t.guarded("user me\ntopic #\n")
		t.connect("a", loggedIn)
		for _, change := range []func(*mqtt.Connect){
			func(*mqtt.Connect) {},
			func(c *mqtt.Connect) { c.Username = []byte("me") },
			func(c *mqtt.Connect) { c.Username, c.Password = []byte("me"), []byte("wrong") },
			func(c *mqtt.Connect) { c.Username, c.Password = []byte("you"), []byte("secret") },
			func(c *mqtt.Connect) { c.Username, c.Password = []byte(""), []byte("secret") },
		} {
			c := t.dial()
			p := &mqtt.Connect{CleanStart: true, ClientID: []byte(t.id("b"))}
			change(p)
			c.send(p)
			c.refused(mqtt.CodeBadCredentials, mqtt.CodeNotAuthorized)
		}
	})

	_ = statement("MQTT-4.3.2-4b MQTT-4.3.3-8b", both, "a message that there is no right to publish is answered, and goes nowhere", func(t *T) {
		t.guarded("user me\ntopic read #\ntopic write " + t.topic("may") + "\n")
		sub := t.connect("sub", loggedIn)
		sub.subscribe("+", 2)
		pub := t.connect("pub", loggedIn)
		for qos := range mqtt.QoS(3) {
			pub.send(&mqtt.Publish{Topic: []byte(t.topic("may not")), QoS: qos, PacketID: 1, Retain: true, Payload: []byte("no")})
			want := mqtt.CodeSuccess
			if t.v5() {
				want = mqtt.CodeNotAuthorized
			}
			switch qos {
			case mqtt.QoS1:
				if code := expect[*mqtt.Puback](pub).Code; code != want {
					t.Fatalf("PUBACK %v, want %v", code, want)
				}
			case mqtt.QoS2:
				if code := expect[*mqtt.Pubrec](pub).Code; code != want {
					t.Fatalf("PUBREC %v, want %v", code, want)
				}
				if !t.v5() {
					pub.send(&mqtt.Pubrel{PacketID: 1})
					expect[*mqtt.Pubcomp](pub)
				}
			}
			pub.publish("may", "yes", qos)
			sub.takes("yes", qos)
		}
		sub.subscribe("+", 0)
		sub.quiet()
	})

	_ = statement("MQTT-3.1.2-8d", both, "a will that there is no right to publish is not published", func(t *T) {
		t.guarded("user me\ntopic read #\n")
		sub := t.connect("sub", loggedIn)
		sub.subscribe("+", 1)
		c := t.dial()
		p := &mqtt.Connect{CleanStart: true, ClientID: []byte(t.id("lost"))}
		loggedIn(p)
		t.will("w", "gone")(p)
		c.send(p)
		c.next() // whether it is let in or not
		c.drop()
		sub.quiet()
	})
)
