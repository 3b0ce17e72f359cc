package session

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// setOption sets the option with that key, as config does.
func setOption(o *Options, setting string) error {
	key, value, _ := strings.Cut(setting, "=")
	v := reflect.ValueOf(o).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("mapstructure") != key {
			continue
		}
		switch f := v.Field(i).Addr().Interface().(type) {
		case *time.Duration:
			d, err := time.ParseDuration(value)
			if err != nil {
				return err
			}
			*f = d
		case *int:
			n, err := strconv.Atoi(value)
			if err != nil {
				return err
			}
			*f = n
		case *bool:
			*f = value == "true"
		case *string:
			*f = value
		}
		return o.Validate()
	}
	return fmt.Errorf("%s: no such option", key)
}

func TestDefaultOptionsAreValid(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
}

// An error names the key, the value and what is allowed.
func TestValidateNamesTheKey(t *testing.T) {
	for setting, want := range map[string]string{
		"t_retry=0s":            "t_retry: 0s is out of range: 1ms to 1h0m0s",
		"t_retry=2h":            "t_retry: 2h0m0s is out of range: 1ms to 1h0m0s",
		"t_retry_min=1us":       "t_retry_min: 1µs is out of range: 1ms to t_retry, or 0 for a fifth of it",
		"t_retry_max=2h":        "t_retry_max: 2h0m0s is out of range: 0s to 1h0m0s",
		"t_retry_min=11s":       "t_retry_min: 11s is more than t_retry, which is 10s: allowed is up to that",
		"t_retry_max=9s":        "t_retry_max: 9s is less than t_retry, which is 10s: allowed is that and more",
		"n_retry=-1":            "n_retry: -1 is out of range: 0 to 100",
		"tolerance=lax":         `tolerance: "lax" is not a policy: even or spec`,
		"max_topics=65535":      "max_topics: 65535 is out of range: 1 to 65534",
		"max_queued_messages=0": "max_queued_messages: 0 is out of range: 1 to 1000000000",
		"client_id_max=22":      "client_id_max: 22 is out of range: 23 to 65535",
		"max_sleep=0s":          "max_sleep: 0s is out of range: 1s to 87600h0m0s",
	} {
		o := DefaultOptions()
		if err := setOption(&o, setting); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", setting, err, want)
		}
	}
}

// Whoever sets T_retry alone need not know that it has bounds on radios: they follow it.
func TestBoundsFollowTRetry(t *testing.T) {
	for d, want := range map[time.Duration][2]time.Duration{
		time.Millisecond: {200 * time.Microsecond, 6 * time.Millisecond}, 10 * time.Second: {2 * time.Second, time.Minute},
		20 * time.Minute: {4 * time.Minute, time.Hour}, time.Hour: {12 * time.Minute, time.Hour},
	} {
		o := DefaultOptions()
		o.TRetry = d
		if err := o.Validate(); err != nil {
			t.Errorf("t_retry=%v: %v", d, err)
		}
		if least, most := o.tRetryBounds(); least != want[0] || most != want[1] {
			t.Errorf("t_retry=%v: the bounds are %v and %v", d, least, most)
		}
	}
	o := DefaultOptions()
	o.TRetryMin, o.TRetryMax = o.TRetry, o.TRetry
	if least, most := o.tRetryBounds(); least != o.TRetry || most != o.TRetry {
		t.Errorf("bounds that are set are %v and %v", least, most)
	}
}

func TestEveryOptionHasAKey(t *testing.T) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Options]()) {
		if f.Tag.Get("mapstructure") == "" {
			t.Errorf("%s has no key", f.Name)
		}
	}
}

// [SN-7.2] gives a tenth above a minute and half below; exactly a minute is open.
func TestTolerance(t *testing.T) {
	even, spec := DefaultOptions(), DefaultOptions()
	spec.Tolerance = ToleranceSpec
	for _, c := range []struct{ d, even, spec time.Duration }{
		{10 * time.Second, 15 * time.Second, 15 * time.Second},
		{time.Minute, 90 * time.Second, 90 * time.Second},
		{61 * time.Second, 91500 * time.Millisecond, 67100 * time.Millisecond},
		{100 * time.Second, 150 * time.Second, 110 * time.Second},
	} {
		if got := even.tolerate(c.d); got != c.even {
			t.Errorf("even: %v becomes %v, want %v", c.d, got, c.even)
		}
		if got := spec.tolerate(c.d); got != c.spec {
			t.Errorf("spec: %v becomes %v, want %v", c.d, got, c.spec)
		}
	}
}

func TestPredefined(t *testing.T) {
	p, err := NewPredefined([]PredefinedTopic{
		{ID: 10, Topic: "all/ten"},
		{ID: 11, Topic: "all/eleven"},
		{ID: 10, Topic: "own/ten", Client: "a"},
		{ID: 12, Topic: "all/ten", Client: "a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		client string
		id     uint16
		name   string
	}{
		{"a", 10, "own/ten"}, {"a", 11, "all/eleven"}, {"a", 12, "all/ten"},
		{"b", 10, "all/ten"}, {"b", 12, ""}, {"", 10, "all/ten"}, {"", 12, ""}, {"b", 0, ""},
	} {
		name, ok := p.Name(c.client, c.id)
		if name != c.name || ok != (c.name != "") {
			t.Errorf("Name(%q, %d) = %q, %t, want %q", c.client, c.id, name, ok, c.name)
		}
		if c.name == "" {
			continue
		}
		if id, ok := p.ID(c.client, c.name); id != c.id || !ok {
			t.Errorf("ID(%q, %q) = %d, %t, want %d", c.client, c.name, id, ok, c.id)
		}
	}
	if _, ok := p.ID("b", "own/ten"); ok {
		t.Error("a client's own topic is known to another")
	}
	var none *Predefined
	if _, ok := none.Name("a", 10); ok {
		t.Error("a nil table has a topic")
	}
	if _, ok := none.ID("a", "all/ten"); ok {
		t.Error("a nil table has a topic")
	}
}

// An id of the client's own hides what the same number means for all.
func TestPredefinedHidden(t *testing.T) {
	p, err := NewPredefined([]PredefinedTopic{{ID: 10, Topic: "all"}, {ID: 10, Topic: "own", Client: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := p.ID("a", "all"); ok {
		t.Errorf("ID(a, all) = %d, which means own to a", id)
	}
}

func TestPredefinedErrors(t *testing.T) {
	for _, c := range []struct {
		topics []PredefinedTopic
		want   string
	}{
		{[]PredefinedTopic{{ID: 0, Topic: "a"}}, `entry 1 ("a"): id 0 is out of range: 1 to 65534`},
		{[]PredefinedTopic{{ID: 65535, Topic: "a"}}, `entry 1 ("a"): id 65535 is out of range: 1 to 65534`},
		{[]PredefinedTopic{{ID: 1, Topic: "a/#"}}, `entry 1 (id 1): topic "a/#" is not a topic name: UTF-8 without wildcards`},
		{[]PredefinedTopic{{ID: 1, Topic: ""}}, `entry 1 (id 1): topic "" is not a topic name: UTF-8 without wildcards`},
		{[]PredefinedTopic{{ID: 1, Topic: "a"}, {ID: 1, Topic: "b"}}, `entry 2: id 1 is already that of "a" for the same client`},
	} {
		if _, err := NewPredefined(c.topics); err == nil || err.Error() != c.want {
			t.Errorf("%v: %v, want %s", c.topics, err, c.want)
		}
	}
}
