package config

import (
	"reflect"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/transports/serial"
	"mqttsn-gateway/transports/udp"
)

// elementDefault is what an element of a list of sections is before anything is set in
// it; ok is false for lists whose elements have no defaults.
func elementDefault(list string) (v reflect.Value, ok bool) {
	switch list {
	case "udp":
		return reflect.ValueOf(udp.DefaultOptions()), true
	case "mqtt.listeners":
		return reflect.ValueOf(embedded.DefaultListenerOptions()), true
	case "serial":
		return reflect.ValueOf(serial.DefaultOptions()), true
	}
	return reflect.Value{}, false
}

// fillElements gives the lists of sections in c that are set as many default elements as
// they have.
func fillElements(c *Config, length func(list string) (int, bool)) {
	fillLists(reflect.ValueOf(c).Elem(), "", length)
}

func fillLists(section reflect.Value, prefix string, length func(list string) (int, bool)) {
	for i := range section.NumField() {
		field := section.Field(i)
		name := prefix + section.Type().Field(i).Tag.Get("mapstructure")
		if field.Kind() == reflect.Struct {
			fillLists(field, name+".", length)
			continue
		}
		d, ok := elementDefault(name)
		if !ok {
			continue
		}
		n, set := length(name)
		if !set {
			continue
		}
		list := reflect.MakeSlice(field.Type(), n, n)
		for j := range n {
			list.Index(j).Set(d)
		}
		field.Set(list)
	}
}
