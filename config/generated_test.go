package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"mqttsn-gateway/gateway"
)

var update = flag.Bool("update", false, "write the generated files instead of comparing them")

// The sample file and the reference are written from the declarations of the options:
// comments from their documentation, values from the defaults.
func TestGenerated(t *testing.T) {
	d := declarations{t: t, docs: make(map[string]string)}
	for file, want := range map[string]string{
		"sample.yaml":              d.sample(),
		"../docs/configuration.md": d.reference(),
	} {
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o666); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not up to date: run go generate ./config", file)
		}
	}
}

// examples are shown in the sample for options that have no default.
var examples = map[string]string{
	"predefined_topics.0.id":     "1",
	"predefined_topics.0.topic":  "sensors/temperature",
	"predefined_topics.0.client": `""`,
	"serial.0.device":            "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0",
}

// declarations knows the documentation of options.
type declarations struct {
	t    *testing.T
	docs map[string]string // by type and field
}

// doc is the comment of a field, with the names of options in place of those of fields.
func (d *declarations) doc(t reflect.Type, f reflect.StructField) string {
	d.t.Helper()
	id := t.PkgPath() + "." + t.Name() + "."
	if _, ok := d.docs[id]; !ok {
		d.docs[id] = "read"
		d.read(t, id)
	}
	text := d.docs[id+f.Name]
	if text == "" {
		d.t.Fatalf("%s%s has no comment", id, f.Name)
	}
	if rest, ok := strings.CutPrefix(text, f.Name+" "); ok {
		text = f.Tag.Get("mapstructure") + " " + rest
	}
	for _, other := range reflect.VisibleFields(t) {
		// Names of one word, such as MTU, are words of the text as well.
		if tag := other.Tag.Get("mapstructure"); strings.Contains(tag, "_") {
			text = regexp.MustCompile(`\b`+other.Name+`\b`).ReplaceAllString(text, tag)
		}
	}
	return text
}

// read parses the package that declares t.
func (d *declarations) read(t reflect.Type, id string) {
	d.t.Helper()
	dir := filepath.Join("..", filepath.FromSlash(strings.TrimPrefix(t.PkgPath(), "mqttsn-gateway/")))
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			d.t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != t.Name() {
				return true
			}
			last := ""
			for _, f := range spec.Type.(*ast.StructType).Fields.List {
				if f.Doc != nil {
					last = strings.TrimSpace(f.Doc.Text())
				}
				for _, name := range f.Names {
					d.docs[id+name.Name] = last // one comment may stand for several fields
				}
			}
			return false
		})
	}
}

// fields are the options of a section in the order of their declaration.
func fields(t reflect.Type) []reflect.StructField {
	var all []reflect.StructField
	for _, f := range reflect.VisibleFields(t) {
		if f.Tag.Get("mapstructure") != "-" && f.IsExported() {
			all = append(all, f)
		}
	}
	return all
}

const sampleHead = `# Configuration of the MQTT-SN gateway (YAML). Every option is here with its default.
# Remove the # in front of an option to change it.
#
# An environment variable MQTTSN_SECTION_OPTION, such as MQTTSN_SESSION_T_RETRY=5s, comes
# before this file; a flag, such as --set session.t_retry=5s, comes before both. Times
# have a unit: 500ms, 10s, 5m, 24h. [SN-6.14] refers to a section of the MQTT-SN 1.2
# specification.
`

func (d *declarations) sample() string {
	var b strings.Builder
	b.WriteString(sampleHead)
	defaults := reflect.ValueOf(Default())
	for i, f := range fields(configType) {
		b.WriteString("\n")
		comment(&b, "", d.doc(configType, f))
		name := f.Tag.Get("mapstructure")
		fmt.Fprintf(&b, "%s:\n", name)
		if isList(f.Type) {
			d.sampleList(&b, name, "  ", defaults.Field(i))
		} else {
			d.sampleSection(&b, name, "  ", defaults.Field(i))
		}
	}
	return b.String()
}

func (d *declarations) sampleSection(b *strings.Builder, name, indent string, v reflect.Value) {
	last := ""
	for _, f := range fields(v.Type()) {
		if doc := d.doc(v.Type(), f); doc != last {
			if last != "" {
				b.WriteString("\n")
			}
			comment(b, indent, doc)
			last = doc
		}
		tag := f.Tag.Get("mapstructure")
		switch field := v.FieldByIndex(f.Index); {
		case f.Type.Kind() == reflect.Struct:
			fmt.Fprintf(b, "%s%s:\n", indent, tag)
			d.sampleSection(b, name+"."+tag, indent+"  ", field)
		case isList(f.Type):
			fmt.Fprintf(b, "%s%s:\n", indent, tag)
			d.sampleList(b, name+"."+tag, indent+"  ", field)
		default:
			fmt.Fprintf(b, "%s#%s: %s\n", indent, tag, shownValue(field))
		}
	}
}

// sampleList writes the first element of a list. Where there is none by default, all of
// it is commented out, with an example for what has no default.
func (d *declarations) sampleList(b *strings.Builder, name, indent string, list reflect.Value) {
	elem := list.Type().Elem()
	first, hasDefault := elementDefault(name)
	if list.Len() == 0 && hasDefault {
		bullet := "#- "
		for i, f := range fields(elem) {
			if i > 0 {
				b.WriteString("\n")
			}
			tag := f.Tag.Get("mapstructure")
			comment(b, indent, d.doc(elem, f))
			value, ok := examples[name+".0."+tag]
			if !ok {
				value = shownValue(first.FieldByIndex(f.Index))
			}
			fmt.Fprintf(b, "%s%s%s: %s\n", indent, bullet, tag, value)
			bullet = "#  "
		}
		return
	}
	if list.Len() == 0 {
		for _, f := range fields(elem) {
			comment(b, indent, d.doc(elem, f))
		}
		bullet := "#- "
		for _, f := range fields(elem) {
			tag := f.Tag.Get("mapstructure")
			value, ok := examples[name+".0."+tag]
			if !ok {
				d.t.Fatalf("%s.0.%s has no default and needs an example", name, tag)
			}
			fmt.Fprintf(b, "%s%s%s: %s\n", indent, bullet, tag, value)
			bullet = "#  "
		}
		return
	}
	for i, f := range fields(elem) {
		tag, field := f.Tag.Get("mapstructure"), list.Index(0).FieldByIndex(f.Index)
		if i == 0 {
			comment(b, indent, d.doc(elem, f))
			fmt.Fprintf(b, "%s- %s: %s\n", indent, tag, shownValue(field))
			continue
		}
		b.WriteString("\n")
		comment(b, indent+"  ", d.doc(elem, f))
		fmt.Fprintf(b, "%s  #%s: %s\n", indent, tag, shownValue(field))
	}
}

func comment(b *strings.Builder, indent, text string) {
	for line := range strings.SplitSeq(text, "\n") {
		b.WriteString(strings.TrimRight(indent+"# "+line, " ") + "\n")
	}
}

// shownValue is a value in YAML, on one line.
func shownValue(v reflect.Value) string {
	if d, ok := v.Interface().(time.Duration); ok {
		return shortDuration(d)
	}
	var n yaml.Node
	if err := n.Encode(v.Interface()); err != nil {
		panic(err)
	}
	n.Style = yaml.FlowStyle
	text, err := yaml.Marshal(&n)
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(text))
}

// shortDuration is a duration without the zeros of "24h0m0s".
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

const referenceHead = `# Configuration reference

<!-- Written by "go generate ./config" from the declarations of the options. -->

` + "`gateway config sample`" + ` prints a file with all of this; ` + "`gateway config check FILE`" + ` says what is
wrong with one, and with the files that it names. ` + "`gateway --config FILE`" + ` or the environment variable ` + "`MQTTSN_CONFIG`" + ` names the file to use.
The gateway runs without one.

What comes later here counts more: the defaults, the file, environment variables, flags, ` + "`--set KEY=VALUE`" + `.
Each option has an environment variable; an empty one counts as not set. In a list of sections the number of an
element, from 0, stands in the name: ` + "`udp.1.listen`, `MQTTSN_UDP_1_LISTEN`" + `. A list as a whole is written as YAML:
` + "`--set 'predefined_topics=[{id: 1, topic: a/b}]'`" + `; a list of texts also as ` + "`a,b`" + `. Times have a unit.
What is not known, of the wrong kind or out of range stops the start with its name, file and line, and with what is
allowed. Secrets are read from files (options ending in ` + "`_file`" + `), never from the command line or the environment.
`

func (d *declarations) reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	defaults, smalls := reflect.ValueOf(Default()), reflect.ValueOf(defaultsOf(gateway.ProfileSmall))
	for i, f := range fields(configType) {
		name := f.Tag.Get("mapstructure")
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", name, d.doc(configType, f))
		v, small := defaults.Field(i), smalls.Field(i)
		if isList(f.Type) {
			name += "." + listIndex
			if d, ok := elementDefault(f.Tag.Get("mapstructure")); ok {
				v = d
			} else {
				v = reflect.Zero(f.Type.Elem())
			}
			small = v
		}
		d.referenceSection(&b, name, v, small)
	}
	return b.String()
}

// referenceSection writes the options of a section; small is the section in that profile.
func (d *declarations) referenceSection(b *strings.Builder, name string, v, small reflect.Value) {
	for _, f := range fields(v.Type()) {
		full, field, smaller := name+"."+f.Tag.Get("mapstructure"), v.FieldByIndex(f.Index), small.FieldByIndex(f.Index)
		doc := d.doc(v.Type(), f)
		if f.Type.Kind() == reflect.Struct {
			fmt.Fprintf(b, "\n### %s\n\n%s\n", full, doc)
			d.referenceSection(b, full, field, smaller)
			continue
		}
		if element, ok := elementDefault(full); ok {
			fmt.Fprintf(b, "\n### %s\n\nAllowed is %s · `%s`\n\n%s\n", full, allowed(f.Type), envName(full), doc)
			d.referenceSection(b, full+"."+listIndex, element, element)
			continue
		}
		value := "`" + shownValue(field) + "`"
		if other := shownValue(smaller); other != shownValue(field) && full != "gateway.profile" {
			value += ", in the profile small `" + other + "`"
		}
		fmt.Fprintf(b, "\n### %s\n\nDefault %s · %s · `%s`\n\n%s\n", full, value, allowed(f.Type), envName(full), doc)
	}
}
