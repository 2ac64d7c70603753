package v1

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"
	"unicode"
)

// schemas are those of Go's types as encoding/json writes them.
type schemas struct {
	schemas object
	names   map[string]reflect.Type
	// request has the types of requests, where a field may be left away.
	request map[reflect.Type]bool
}

func newSchemas() *schemas {
	return &schemas{schemas: object{}, names: map[string]reflect.Type{}, request: map[reflect.Type]bool{}}
}

// asked notes the types within v as those of requests.
func (b *schemas) asked(v any) {
	if v != nil {
		b.walk(reflect.TypeOf(v))
	}
}

func (b *schemas) walk(t reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		b.walk(t.Elem())
	case reflect.Struct:
		if b.request[t] {
			return
		}
		b.request[t] = true
		for i := range t.NumField() {
			b.walk(t.Field(i).Type)
		}
	}
}

func (b *schemas) of(v any) object { return b.ofType(reflect.TypeOf(v)) }

// ofType must only be asked for types that the API uses: no channels, no functions.
func (b *schemas) ofType(t reflect.Type) object {
	if s := special(t); s != nil {
		return s
	}
	switch t.Kind() {
	case reflect.Pointer:
		return b.ofType(t.Elem())
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 && t.Kind() == reflect.Slice {
			return object{"type": "string", "format": "byte"}
		}
		return object{"type": "array", "items": b.ofType(t.Elem()), "nullable": true}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": b.ofType(t.Elem()), "nullable": true}
	case reflect.Interface:
		return object{}
	case reflect.Struct:
		return b.named(t)
	}
	return object{"type": "integer", "format": "int64"}
}

// special are types that have a form of their own.
func special(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[time.Duration]():
		return object{"type": "integer", "format": "int64", "description": "nanoseconds"}
	case reflect.TypeFor[json.RawMessage]():
		return object{}
	}
	implements := func(i reflect.Type) bool { return t.Implements(i) || reflect.PointerTo(t).Implements(i) }
	switch {
	case t.Kind() == reflect.Interface || t.Kind() == reflect.Pointer:
		return nil
	case implements(reflect.TypeFor[json.Marshaler]()):
		return object{} // its own affair
	case implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return object{"type": "string"}
	}
	return nil
}

// named refers to the schema of a struct, which it makes at the first time.
func (b *schemas) named(t reflect.Type) object {
	name := schemaName(t)
	if b.names[name] != nil && b.names[name] != t {
		name = packageOf(t) + name
	}
	ref := object{"$ref": "#/components/schemas/" + name}
	if b.names[name] == t {
		return ref
	}
	b.names[name] = t
	properties, required := object{}, []string{}
	b.fields(t, properties, &required)
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 && !b.request[t] {
		s["required"] = required
	}
	b.schemas[name] = s
	return ref
}

func (b *schemas) fields(t reflect.Type, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			b.fields(inner, properties, required)
			continue
		}
		if name == "-" || !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if _, outer := properties[name]; outer {
			continue
		}
		properties[name] = b.ofType(f.Type)
		if !strings.Contains(options, "omit") {
			*required = append(*required, name)
		}
	}
}

func packageOf(t reflect.Type) string {
	p := t.PkgPath()
	p = p[strings.LastIndex(p, "/")+1:]
	return string(unicode.ToUpper(rune(p[0]))) + p[1:]
}

// schemaName is the type's name; of a generic one with that of its argument.
func schemaName(t reflect.Type) string {
	name, argument, generic := strings.Cut(t.Name(), "[")
	if !generic {
		return strings.ToUpper(name[:1]) + name[1:]
	}
	argument = strings.TrimSuffix(argument, "]")
	return name + argument[strings.LastIndexAny(argument, "./*")+1:]
}
