package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"mqttsn-gateway/gateway"
	"mqttsn-gateway/gateway/session"
)

// maxFaults bounds how many problems of one section are reported.
const maxFaults = 30

// validator is what all Options are. The text of the error begins with the key and a
// colon: "t_retry: 0s is out of range: 1ms to 1h0m0s".
type validator interface{ Validate() error }

// validate checks every section.
func (l *loader) validate(c Config) {
	if c.Broker.URL == "" {
		c.Broker.URL = "mqtt://localhost" // the rest has to be right all the same
	}
	if c.Forward.To == "" {
		c.Forward.To = "localhost:1883" // the same
	}
	whole, defaults := reflect.ValueOf(&c).Elem(), reflect.ValueOf(defaultsOf(c.Gateway.Profile))
	for i := range whole.NumField() {
		name := configType.Field(i).Tag.Get("mapstructure")
		section := whole.Field(i)
		if !isList(section.Type()) {
			l.section(name, section, defaults.Field(i))
			continue
		}
		for j := range section.Len() {
			item := section.Index(j)
			if d, ok := elementDefault(name); ok {
				l.section(name+"."+strconv.Itoa(j), item, d)
			}
		}
	}
	if !slices.ContainsFunc(l.problems, func(p Problem) bool { return strings.HasPrefix(p.Key, "predefined_topics.") }) {
		l.predefined(c.PredefinedTopics)
	}
}

// section reports everything that is wrong with one section. Validate reports the first
// fault only; to find the next one, section, which is a copy, gets the default for the
// option at fault and is asked again.
func (l *loader) section(name string, section, defaults reflect.Value) {
	for range maxFaults {
		err := section.Interface().(validator).Validate()
		if err == nil {
			return
		}
		key, what, _ := strings.Cut(err.Error(), ": ")
		field, ok := option(section, strings.Split(key, "."))
		if !ok {
			l.problems.add(name, l.where(name), "%v", err)
			return
		}
		full := name + "." + key
		if !slices.ContainsFunc(l.problems, func(p Problem) bool { return p.Key == full }) {
			l.problems.add(full, l.where(full), "%s", what)
		}
		list, last := parentOf(key)
		if isIndex(last) { // an element of a list may have no default; the list has
			field, _ = option(section, strings.Split(list, "."))
			key = list
		}
		old, ok := option(defaults, strings.Split(key, "."))
		if !ok || reflect.DeepEqual(field.Interface(), old.Interface()) {
			return
		}
		field.Set(old)
	}
}

// option is the field, or the element of a list, with that path of keys.
func option(v reflect.Value, path []string) (reflect.Value, bool) {
	for _, key := range path {
		if n, err := strconv.Atoi(key); err == nil && v.Kind() == reflect.Slice && n >= 0 && n < v.Len() {
			v = v.Index(n)
			continue
		}
		if v.Kind() != reflect.Struct {
			return v, false
		}
		i := slices.IndexFunc(reflect.VisibleFields(v.Type()), func(f reflect.StructField) bool {
			return f.Tag.Get("mapstructure") == key
		})
		if i < 0 {
			return v, false
		}
		v = v.FieldByIndex(reflect.VisibleFields(v.Type())[i].Index)
	}
	return v, true
}

// where is the place at which an option was set, or the list element that it is in.
func (l *loader) where(name string) string {
	if w, ok := l.reader.origins[name]; ok {
		return w
	}
	if parent, last := parentOf(name); isIndex(parent) && !isIndex(last) {
		return l.where(parent)
	}
	return "default"
}

func parentOf(name string) (parent, last string) {
	i := strings.LastIndexByte(name, '.')
	return name[:max(i, 0)], name[i+1:]
}

func isIndex(name string) bool {
	_, err := strconv.Atoi(lastPart(name))
	return err == nil
}

// entry is how session.NewPredefined begins its errors, where we give file and line.
var entry = regexp.MustCompile(`^entry \d+:? ?`)

// predefined reports the entries of the table that are invalid or contradict earlier ones.
func (l *loader) predefined(topics []session.PredefinedTopic) {
	index := make([]int, len(topics)) // where the entries that are left were
	for i := range index {
		index[i] = i
	}
	topics = slices.Clone(topics)
	for range maxFaults {
		n := sort.Search(len(topics), func(n int) bool {
			_, err := session.NewPredefined(topics[:n+1])
			return err != nil
		})
		if n == len(topics) {
			return
		}
		_, err := session.NewPredefined(topics[:n+1])
		name := fmt.Sprintf("predefined_topics.%d", index[n])
		l.problems.add(name, l.where(name), "%s", entry.ReplaceAllString(err.Error(), ""))
		topics, index = slices.Delete(topics, n, n+1), slices.Delete(index, n, n+1)
	}
}

// GatewayOptions are the options that package gateway takes, with those of its sessions.
func (c Config) GatewayOptions() (gateway.Options, error) {
	o := c.Gateway
	o.Session = c.Session
	var err error
	o.Session.Predefined, err = session.NewPredefined(c.PredefinedTopics)
	return o, err
}
