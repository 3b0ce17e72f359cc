package config

import (
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Origins says where options were set. An option that is not in it has its default.
type Origins map[string]string

// reader turns YAML into the plain values of the options it is for, and notes what is
// wrong and where each value came from. Unlike a decoder it knows lines, takes no number
// for a time or a text, and goes on after a mistake.
type reader struct {
	// where names the place of a node.
	where    func(*yaml.Node) string
	known    []string
	origins  Origins
	problems *problems
}

// read returns the value of n for the option name of type t: map[string]any, []any, or
// what a scalar is. ok is false if there is no usable value.
func (r *reader) read(n *yaml.Node, t reflect.Type, name string) (value any, ok bool) {
	r.origins[name] = r.where(n)
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.problems.add(name, r.where(n), "YAML anchors and aliases are not supported; write the value out")
		return nil, false
	case t.Kind() == reflect.Struct:
		return r.section(n, t, name)
	case t.Kind() == reflect.Slice:
		return r.list(n, t, name)
	default:
		return r.scalar(n, t, name)
	}
}

func (r *reader) section(n *yaml.Node, t reflect.Type, name string) (any, bool) {
	if n.Tag == "!!null" { // a section whose options are all commented out
		return nil, false
	}
	if n.Kind != yaml.MappingNode {
		r.mismatch(n, t, name)
		return nil, false
	}
	fields := make(map[string]reflect.Type)
	for _, f := range reflect.VisibleFields(t) {
		if tag := f.Tag.Get("mapstructure"); tag != "-" && f.IsExported() {
			fields[tag] = f.Type
		}
	}
	section := make(map[string]any)
	lines := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		full := k.Value
		if name != "" {
			full = name + "." + k.Value
		}
		field, known := fields[k.Value]
		switch {
		case k.Kind != yaml.ScalarNode:
			r.problems.add(name, r.where(k), "an option's name must be a plain word")
		case !known:
			r.unknown(full, r.where(k))
		case lines[k.Value] != 0:
			r.problems.add(full, r.where(k), "is set twice, first in line %d", lines[k.Value])
		default:
			lines[k.Value] = k.Line
			if value, ok := r.read(v, field, full); ok {
				section[k.Value] = value
			}
		}
	}
	return section, true
}

func (r *reader) list(n *yaml.Node, t reflect.Type, name string) (any, bool) {
	if n.Tag == "!!null" && isList(t) { // a list whose elements are all commented out
		return nil, false
	}
	if n.Kind != yaml.SequenceNode {
		r.mismatch(n, t, name)
		return nil, false
	}
	list := make([]any, 0, len(n.Content))
	for i, item := range n.Content {
		value, ok := r.read(item, t.Elem(), name+"."+strconv.Itoa(i))
		if !ok && t.Elem().Kind() == reflect.Struct {
			value = map[string]any{}
		} else if !ok {
			continue
		}
		list = append(list, value)
	}
	return list, true
}

func (r *reader) scalar(n *yaml.Node, t reflect.Type, name string) (any, bool) {
	fits := n.Kind == yaml.ScalarNode && n.Tag != "!!null"
	if fits && t == durationType {
		d, err := time.ParseDuration(n.Value)
		if n.Tag == "!!str" && err == nil {
			return d, true
		}
		if n.Tag == "!!int" {
			r.problems.add(name, r.where(n), "%s has no unit; write %ss for seconds, %sms for milliseconds", n.Value, n.Value, n.Value)
			return nil, false
		}
		fits = false
	}
	if fits && t.Kind() == reflect.String {
		if n.Tag == "!!str" {
			return n.Value, true
		}
		if n.Tag == "!!bool" && t.PkgPath() != "" { // a type with values of its own, such as true, false and auto
			return strings.ToLower(n.Value), true
		}
		r.problems.add(name, r.where(n), "%s is not a text; write it in quotes: %q", n.Value, n.Value)
		return nil, false
	}
	if fits {
		value := reflect.New(t) // Decode judges the range
		if kindOf(t) == n.Tag && n.Decode(value.Interface()) == nil {
			return value.Elem().Interface(), true
		}
	}
	r.mismatch(n, t, name)
	return nil, false
}

// kindOf is YAML's name for the values of a type.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "!!bool"
	default:
		return "!!int"
	}
}

func (r *reader) mismatch(n *yaml.Node, t reflect.Type, name string) {
	what := strconv.Quote(n.Value)
	switch {
	case n.Kind == yaml.MappingNode:
		what = "a section"
	case n.Kind == yaml.SequenceNode:
		what = "a list"
	case n.Tag == "!!null":
		what = "nothing"
	}
	r.problems.add(name, r.where(n), "%s is given; allowed is %s", what, allowed(t))
}

func (r *reader) unknown(name, where string) {
	hint := ""
	if k := nearest(patternOf(name), r.known); k != "" {
		hint = "; did you mean " + shown(k) + "?"
	}
	r.problems.add(name, where, "there is no such option%s", hint)
}

// shown is how a key is named to users who have not said which element they mean.
func shown(name string) string { return strings.ReplaceAll(name, "."+listIndex+".", ".") }
