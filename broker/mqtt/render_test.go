package mqtt

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// render is a packet as the golden files write it: its type and the fields that are
// present. Properties stand among the other fields.
func render(p Packet) string {
	return p.Type().String() + fields(reflect.Indirect(reflect.ValueOf(p)), "")
}

func fields(v reflect.Value, prefix string) string {
	var b strings.Builder
	for i := range v.NumField() {
		f, name := v.Field(i), prefix+v.Type().Field(i).Name
		switch {
		case f.IsZero(): // also a nil slice, and an Optional that is not set
		case f.Kind() == reflect.Slice && f.Len() == 0 && f.Type() != reflect.TypeFor[[]byte]():
		case v.Type().Field(i).Name == "Properties":
			b.WriteString(fields(f, prefix))
		case f.Kind() == reflect.Struct && f.FieldByName("Set").IsValid():
			fmt.Fprintf(&b, " %s=%v", name, f.FieldByName("Value").Interface())
		case f.Kind() == reflect.Struct:
			b.WriteString(fields(f, name+"."))
		case f.Kind() == reflect.Bool:
			b.WriteString(" " + name)
		default:
			fmt.Fprintf(&b, " %s=%s", name, value(f))
		}
	}
	return b.String()
}

func value(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case []byte:
		return short(x)
	case Code:
		return fmt.Sprintf("%02X", byte(x))
	case Version:
		return x.String()
	case []UserProperty:
		var list []string
		for _, u := range x {
			list = append(list, short(u.Name)+":"+short(u.Value))
		}
		return fmt.Sprint(list)
	}
	if v.Kind() != reflect.Slice {
		return fmt.Sprint(v.Interface())
	}
	var list []string
	for i := range v.Len() {
		if e := v.Index(i); e.Kind() == reflect.Struct {
			list = append(list, strings.TrimPrefix(fields(e, ""), " "))
		} else {
			list = append(list, value(e))
		}
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// short is b in quotes, long ones with their size.
func short(b []byte) string {
	if len(b) > 64 {
		return fmt.Sprintf("%.8q...%d", b, len(b))
	}
	return fmt.Sprintf("%q", b)
}

// renderError is an error as the golden files write it: its code and its text, and
// "(refuse)" if a CONNACK answers it.
func renderError(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return fmt.Sprintf("%T: %v", err, err)
	}
	s := fmt.Sprintf("%02X %s", byte(e.Code), strings.TrimPrefix(e.Error(), "mqtt: "))
	if e.Refuse {
		s += " (refuse)"
	}
	return s
}
