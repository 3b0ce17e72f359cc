package config

import (
	"reflect"

	"mqttsn-gateway/transports/serial"
	"mqttsn-gateway/transports/udp"
)

// elementDefault is what an element of a list of sections is before anything is set in
// it; ok is false for lists whose elements have no defaults.
func elementDefault(list string) (v reflect.Value, ok bool) {
	switch list {
	case "udp":
		return reflect.ValueOf(udp.DefaultOptions()), true
	case "serial":
		return reflect.ValueOf(serial.DefaultOptions()), true
	}
	return reflect.Value{}, false
}

// fillElements gives the lists of c that are set as many default elements as they have.
func fillElements(c *Config, length func(list string) (int, bool)) {
	whole := reflect.ValueOf(c).Elem()
	for i := range whole.NumField() {
		name := configType.Field(i).Tag.Get("mapstructure")
		d, ok := elementDefault(name)
		if !ok {
			continue
		}
		n, set := length(name)
		if !set {
			continue
		}
		list := reflect.MakeSlice(whole.Field(i).Type(), n, n)
		for j := range n {
			list.Index(j).Set(d)
		}
		whole.Field(i).Set(list)
	}
}
