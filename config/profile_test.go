package config

import (
	"reflect"
	"strings"
	"testing"

	"mqttsn-gateway/gateway"
)

// A profile changes defaults, and nothing that is set.
func TestProfile(t *testing.T) {
	c, _, err := Load(Input{Flags: []Setting{
		{Key: "gateway.profile", Value: "small"}, {Key: "gateway.max_clients", Value: "1234"}, {Key: "session.max_topics", Value: "256"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := defaultsOf(gateway.ProfileSmall)
	want.Gateway.MaxClients, want.Session.MaxTopics = 1234, 256
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if c.MQTT.MaxConnections >= Default().MQTT.MaxConnections {
		t.Errorf("%d MQTT connections", c.MQTT.MaxConnections)
	}
	if c, _, err = Load(Input{Environ: []string{"MQTTSN_GATEWAY_PROFILE=small"}}); err != nil || c.Gateway.MaxClients != 1000 {
		t.Errorf("from the environment: %v, %d clients", err, c.Gateway.MaxClients)
	}
	if _, _, err = Load(Input{Flags: []Setting{{Key: "gateway.profile", Value: "tiny"}}}); err == nil || !strings.Contains(err.Error(), "server or small") {
		t.Errorf("%v", err)
	}
}

// The limits of the small profile are those of the server, or stricter.
func TestSmallIsSmaller(t *testing.T) {
	server, small := reflect.ValueOf(Default()), reflect.ValueOf(defaultsOf(gateway.ProfileSmall))
	var differ int
	var compare func(name string, a, b reflect.Value)
	compare = func(name string, a, b reflect.Value) {
		switch {
		case a.Kind() == reflect.Struct:
			for i := range a.NumField() {
				if a.Type().Field(i).IsExported() {
					compare(name+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))
				}
			}
		case a.CanInt() && a.Int() != b.Int():
			differ++
			if bigger := b.Int() > a.Int(); bigger != (name == ".State.SyncInterval") {
				t.Errorf("%s: %d, small %d", name, a.Int(), b.Int())
			}
		}
	}
	compare("", server, small)
	if differ < 20 {
		t.Errorf("only %d limits differ", differ)
	}
}
