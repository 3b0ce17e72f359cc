package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/gateway/admin"
)

// Whatever the embedded broker counts is a metric, named as Prometheus has it.
func TestEmbeddedMetricsAreComplete(t *testing.T) {
	var st embedded.Stats
	fields := make(map[float64]string) // by a value of their own
	next := uint64(0)
	mark := func(name string) uint64 {
		next++
		fields[float64(next)] = name
		return next
	}
	v := reflect.ValueOf(&st).Elem()
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Name, v.Field(i)
		switch f.Kind() {
		case reflect.Int:
			f.SetInt(int64(mark(name)))
		case reflect.Uint64:
			f.SetUint(mark(name))
		case reflect.Array:
			for k := range f.Len() {
				f.Index(k).SetUint(mark(name))
			}
		case reflect.Map:
			f.Set(reflect.ValueOf(map[string]uint64{"x": mark(name)}))
		default:
			t.Fatalf("Stats.%s is of a kind that the test does not know", name)
		}
	}
	known := slices.Concat(families(embeddedTable), embeddedFamilies)
	emitEmbedded(st, func(family string, value float64, labels ...string) {
		if fields[value] == "" {
			t.Errorf("%s%v has the value of no field, or of one that another metric has", family, labels)
		}
		delete(fields, value)
		if !slices.ContainsFunc(known, func(f admin.Family) bool { return f.Name == family && len(f.Labels) == len(labels) }) {
			t.Errorf("%s%v is not declared so", family, labels)
		}
	})
	for _, name := range fields {
		t.Errorf("no metric has Stats.%s", name)
	}
	for _, f := range known {
		if strings.HasSuffix(f.Name, "_total") != (f.Kind == admin.Counter) {
			t.Errorf("%s: counters end in _total, and nothing else does", f.Name)
		}
	}
}
