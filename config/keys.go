package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// envPrefix starts the name of every environment variable that is an option.
const envPrefix = "MQTTSN_"

// listIndex stands in a pattern for the number of a list's element.
const listIndex = "0"

var (
	configType   = reflect.TypeFor[Config]()
	durationType = reflect.TypeFor[time.Duration]()
)

// key is one option or section as its Go declaration has it.
type key struct {
	// name is the path, such as "session.t_retry"; "udp.0.listen" stands for the listen
	// of every element of the list udp.
	name string
	typ  reflect.Type
}

// keys lists all options, sections and lists of t, depth first.
func keys(t reflect.Type, prefix string) []key {
	var all []key
	for _, f := range reflect.VisibleFields(t) {
		tag := f.Tag.Get("mapstructure")
		if tag == "-" || !f.IsExported() {
			continue
		}
		all = append(all, key{prefix + tag, f.Type})
		switch {
		case f.Type.Kind() == reflect.Struct:
			all = append(all, keys(f.Type, prefix+tag+".")...)
		case isList(f.Type):
			all = append(all, keys(f.Type.Elem(), prefix+tag+"."+listIndex+".")...)
		}
	}
	return all
}

// isList reports whether t is a list of sections, as opposed to a list of values.
func isList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

// names lists what a user may have meant by a key: options, and lists as a whole.
func names(all []key) []string {
	var n []string
	for _, k := range all {
		if k.typ.Kind() != reflect.Struct {
			n = append(n, k.name)
		}
	}
	return n
}

// envName is the environment variable of a key: "session.t_retry" is
// MQTTSN_SESSION_T_RETRY.
func envName(name string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

// find returns the type of the option with that name, any list index being as good as
// another.
func find(all []key, name string) (reflect.Type, bool) {
	pattern := patternOf(name)
	for _, k := range all {
		if k.name == pattern && k.typ.Kind() != reflect.Struct {
			return k.typ, true
		}
	}
	return nil, false
}

// patternOf returns a name with listIndex for each number.
func patternOf(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		if _, err := strconv.Atoi(p); err == nil {
			parts[i] = listIndex
		}
	}
	return strings.Join(parts, ".")
}

// allowed describes the values of a type, for messages.
func allowed(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a time with its unit, such as 500ms, 10s, 5m or 24h"
	case t.Kind() == reflect.Struct:
		return "a section with options"
	case isList(t):
		return "a list of sections with options"
	case t.Kind() == reflect.Slice:
		return "a list, such as [a, b]"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<t.Bits()-1)
	default:
		return "a text"
	}
}
