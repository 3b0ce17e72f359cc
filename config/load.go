package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// delimiter joins the parts of a key inside viper. Its default, the dot, may occur in
// names.
const delimiter = "::"

// maxFile bounds the configuration file, in octets: 100,000 predefined topics fit.
const maxFile = 16 << 20

// EnvFile is the environment variable that names the configuration file where the flag
// --config does not.
const EnvFile = envPrefix + "CONFIG"

// Setting is one option as a flag or an environment variable gives it.
type Setting struct {
	Key   string
	Value string // a text as it is; anything else as YAML
	Where string // for messages
}

// Input is what a configuration is read from.
type Input struct {
	File    string    // path of the YAML file; empty for none
	Environ []string  // as os.Environ gives it; variables without our prefix are ignored
	Flags   []Setting // the last one counts
	// Problems are what was found wrong before: with them nothing can be loaded.
	Problems []Problem
}

// Load reads and checks the configuration. The error is an *Error with all problems.
func Load(in Input) (Config, Origins, error) {
	l := newLoader()
	l.problems = append(l.problems, in.Problems...)
	if in.File != "" {
		l.file(in.File)
	}
	l.environment(in.Environ)
	l.apply(in.Flags)
	c, err := l.result()
	return c, l.reader.origins, err
}

// loader puts the layers on each other: defaults, file, environment, flags.
type loader struct {
	viper    *viper.Viper
	keys     []key
	reader   reader
	problems problems
}

func newLoader() *loader {
	l := &loader{
		viper: viper.NewWithOptions(viper.KeyDelimiter(delimiter)),
		keys:  keys(configType, ""),
	}
	l.reader = reader{known: names(l.keys), origins: Origins{}, problems: &l.problems}
	return l
}

// file reads the file at path.
func (l *loader) file(path string) {
	text, err := readFile(path)
	if err != nil {
		l.problems.add("", path, "%s", cause(err))
		return
	}
	l.yaml(path, text)
}

// yaml reads the text of the file at path.
func (l *loader) yaml(path string, text []byte) {
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return
	} else if err != nil {
		l.problems.add("", path, "is not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		return
	}
	if dec.Decode(&more) == nil {
		l.problems.add("", fmt.Sprintf("%s:%d", path, more.Line), "a second document (after ---) is not supported")
	}
	l.reader.where = func(n *yaml.Node) string { return fmt.Sprintf("%s:%d", path, n.Line) }
	if value, ok := l.reader.read(doc.Content[0], configType, ""); ok {
		if err := l.viper.MergeConfigMap(value.(map[string]any)); err != nil {
			l.problems.add("", path, "%v", err)
		}
	}
}

// result is the configuration that the layers give, and whether it can be used.
func (l *loader) result() (Config, error) {
	c := l.decode()
	l.validate(c)
	return c, l.problems.err()
}

// decode is the configuration that results: what is not set has its default.
func (l *loader) decode() Config {
	c := defaultsOf(l.profile())
	fillElements(&c, func(list string) (int, bool) {
		elements, ok := l.viper.Get(strings.ReplaceAll(list, ".", delimiter)).([]any)
		return len(elements), ok
	})
	if err := l.viper.UnmarshalExact(&c); err != nil {
		l.problems.add("", "configuration", "%v", err)
	}
	return c
}

// cause is an error without the path that the message names already.
func cause(err error) error {
	if pe := (*os.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("is larger than %d MiB", maxFile>>20)
	}
	return text, err
}

// kubernetes matches the variables that Kubernetes sets in every container for a service
// whose name begins with "mqttsn". They are not meant for us.
var kubernetes = regexp.MustCompile(`^MQTTSN_([A-Z0-9_]+_)?(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// environment applies the variables of environ, given as "NAME=value", that begin with
// MQTTSN_. Empty ones count as not set.
func (l *loader) environment(environ []string) {
	var settings []Setting
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, envPrefix) || name == EnvFile || value == "" {
			continue
		}
		where := "environment variable " + name
		switch k := l.envKey(name); {
		case k != "":
			settings = append(settings, Setting{k, value, where})
		case !kubernetes.MatchString(name):
			hint := ""
			lower := strings.ToLower(strings.TrimPrefix(name, envPrefix))
			if n := nearest(strings.ReplaceAll(lower, "_", "."), l.reader.known); n != "" {
				hint = "; did you mean " + envName(n) + "?"
			}
			l.problems.add("", where, "there is no such option%s", hint)
		}
	}
	// A list before its elements, and those by number, whatever the order of environ.
	slices.SortFunc(settings, func(a, b Setting) int {
		return slices.CompareFunc(strings.Split(a.Key, "."), strings.Split(b.Key, "."), compareParts)
	})
	l.apply(settings)
}

// compareParts orders parts of keys, numbers by value.
func compareParts(a, b string) int {
	m, errA := strconv.Atoi(a)
	n, errB := strconv.Atoi(b)
	if errA == nil && errB == nil {
		return cmp.Compare(m, n)
	}
	return strings.Compare(a, b)
}

// envKey is the key of an environment variable, "" if there is none.
func (l *loader) envKey(name string) string {
	var indexes []int
	parts := strings.Split(name, "_")
	for i, p := range parts {
		if n, err := strconv.Atoi(p); err == nil && n >= 0 {
			parts[i] = listIndex
			indexes = append(indexes, n)
		}
	}
	pattern := strings.Join(parts, "_")
	for _, k := range l.reader.known {
		if envName(k) != pattern {
			continue
		}
		steps := strings.Split(k, ".")
		for i, s := range steps {
			if s == listIndex {
				steps[i], indexes = strconv.Itoa(indexes[0]), indexes[1:]
			}
		}
		return strings.Join(steps, ".")
	}
	return ""
}

// apply puts settings on top of what is there, the last one topmost.
func (l *loader) apply(settings []Setting) {
	for _, s := range settings {
		t, ok := find(l.keys, s.Key)
		if !ok {
			l.reader.unknown(s.Key, s.Where)
			continue
		}
		l.reader.where = func(*yaml.Node) string { return s.Where }
		n, err := node(s.Value, t)
		if err != nil {
			l.problems.add(s.Key, s.Where, "%q is given; allowed is %s", s.Value, allowed(t))
			continue
		}
		if value, ok := l.reader.read(n, t, s.Key); ok {
			l.set(s, value)
		}
	}
}

// node is the value of a setting as if it stood in the file.
func node(text string, t reflect.Type) (*yaml.Node, error) {
	asText := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if t.Kind() == reflect.String {
		return asText, nil
	}
	if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String && !isFlowList(text) {
		n := &yaml.Node{Kind: yaml.SequenceNode} // "a,b" for [a, b]
		for item := range strings.SplitSeq(text, ",") {
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.TrimSpace(item)})
		}
		return n, nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) == 0 {
		return asText, err
	}
	return doc.Content[0], nil
}

// isFlowList reports whether a text is a list as YAML writes it. An address such as
// [::1]:1883 is none, nor is a list of several.
func isFlowList(text string) bool {
	text = strings.TrimSpace(text)
	return strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") || strings.HasPrefix(text, "- ") || text == ""
}

// set stores the value of a setting. viper would take the number of an element for a key
// and hide the list, so a list with an element changed is stored as a whole.
func (l *loader) set(s Setting, value any) {
	parts := strings.Split(s.Key, ".")
	at := slices.IndexFunc(parts, func(p string) bool { _, err := strconv.Atoi(p); return err == nil })
	if at < 0 {
		l.viper.Set(strings.Join(parts, delimiter), value)
		return
	}
	name := strings.Join(parts[:at], delimiter)
	old, _ := l.viper.Get(name).([]any)
	list := slices.Clone(old)
	if !l.viper.IsSet(name) {
		list = make([]any, defaultLen(parts[:at]))
	}
	i, _ := strconv.Atoi(parts[at])
	switch {
	case i > len(list):
		l.problems.add(s.Key, s.Where, "there are %d elements so far, so the number must be from 0 to %d", len(list), len(list))
		return
	case i == len(list):
		list = append(list, nil)
	}
	list[i] = nested(list[i], parts[at+1:], value)
	l.viper.Set(name, list)
}

// defaultLen is how many elements a list has by default.
func defaultLen(path []string) int {
	v, ok := option(reflect.ValueOf(Default()), path)
	if !ok {
		return 0
	}
	return v.Len()
}

// nested returns the section old with one of its options set, leaving old alone.
func nested(old any, path []string, value any) map[string]any {
	section := make(map[string]any)
	if m, ok := old.(map[string]any); ok {
		for k, v := range m {
			section[k] = v
		}
	}
	if len(path) > 1 {
		value = nested(section[path[0]], path[1:], value)
	}
	section[path[0]] = value
	return section
}
