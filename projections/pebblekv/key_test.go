package pebblekv_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/permledger/permledger/projections/pebblekv"
)

// part is one part of a key: an id, an ascending number or a descending one.
type part struct {
	form   byte // 'i', 'n' or 'd'
	id     string
	number uint64
}

func build(table byte, parts []part) pebblekv.Key {
	k := pebblekv.NewKey(table)
	for _, p := range parts {
		switch p.form {
		case 'i':
			k = k.IDs(p.id)
		case 'n':
			k = k.Number(p.number)
		default:
			k = k.Newest(p.number)
		}
	}
	return k
}

func anyParts(t *rapid.T, forms []byte) []part {
	parts := make([]part, len(forms))
	for i, form := range forms {
		parts[i].form = form
		if form == 'i' {
			// Ids that look like keys: separators, escapes, numbers, nothing at all.
			parts[i].id = rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("a/=2F\x00\xff")))).Draw(t, "id")
		} else {
			parts[i].number = rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, 1<<64 - 1})).Draw(t, "number")
		}
	}
	return parts
}

var anyForms = rapid.SliceOfN(rapid.SampledFrom([]byte("ind")), 1, 5)

func TestKeysReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := anyParts(t, anyForms.Draw(t, "forms"))
		split := pebblekv.Split(build('x', parts).Raw([]byte{1, 2, 3}))
		for _, want := range parts {
			got := part{form: want.form}
			switch want.form {
			case 'i':
				got.id = split.ID()
			case 'n':
				got.number = split.Number()
			default:
				got.number = split.Newest()
			}
			if got != want {
				t.Fatalf("read %+v, wrote %+v", got, want)
			}
		}
		if raw := split.Raw(3); !bytes.Equal(raw, []byte{1, 2, 3}) || split.Err() != nil {
			t.Fatalf("raw %x, err %v", raw, split.Err())
		}
	})
}

func TestKeysOfOneShapeAreDifferentAndNoPrefixOfEachOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		forms := anyForms.Draw(t, "forms")
		a, b := anyParts(t, forms), anyParts(t, forms)
		if rapid.Bool().Draw(t, "nearly the same") {
			copy(b, a[:len(a)-1])
		}
		ka, kb := build('x', a), build('x', b)
		if slices.Equal(a, b) != bytes.Equal(ka, kb) {
			t.Fatalf("%+v and %+v give %q and %q", a, b, ka, kb)
		}
		if !slices.Equal(a, b) && bytes.HasPrefix(ka, kb) {
			t.Fatalf("%+v is found below %+v", a, b)
		}
	})
}

func TestNumbersSort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b")
		up := bytes.Compare(pebblekv.NewKey('x').Number(a), pebblekv.NewKey('x').Number(b))
		down := bytes.Compare(pebblekv.NewKey('x').Newest(a), pebblekv.NewKey('x').Newest(b))
		want := 0
		if a < b {
			want = -1
		} else if a > b {
			want = 1
		}
		if up != want || down != -want {
			t.Fatalf("%d and %d: up %d, down %d", a, b, up, down)
		}
	})
}

func TestPinnedKey(t *testing.T) {
	got := pebblekv.NewKey('r').IDs("read:*", "").Number(258).Newest(1).Raw([]byte{0xAB})
	want := "r" + // table
		"read=3A=2A/" + // id; what is not a letter, digit, - or _ is written in hex
		"/" + // the empty id
		"\x00\x00\x00\x00\x00\x00\x01\x02" + // 258
		"\xff\xff\xff\xff\xff\xff\xff\xfe" + // 1, inverted
		"\xab"
	if string(got) != want {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

func TestKeysThatAreNone(t *testing.T) {
	for name, read := range map[string]func() *pebblekv.Parts{
		"empty":        func() *pebblekv.Parts { return pebblekv.Split(nil) },
		"no further":   func() *pebblekv.Parts { p := pebblekv.Split([]byte("xa/")); p.ID(); p.ID(); return p },
		"unended id":   func() *pebblekv.Parts { p := pebblekv.Split([]byte("xabc")); p.ID(); return p },
		"short number": func() *pebblekv.Parts { p := pebblekv.Split([]byte("x1234567")); p.Number(); return p },
		"short newest": func() *pebblekv.Parts { p := pebblekv.Split([]byte("x")); p.Newest(); return p },
		"short raw":    func() *pebblekv.Parts { p := pebblekv.Split([]byte("xab")); p.Raw(3); return p },
	} {
		if err := read().Err(); !errors.Is(err, pebblekv.ErrStore) {
			t.Errorf("%s: err %v", name, err)
		}
	}
	// After a fault everything read is zero and the first fault stays.
	p := pebblekv.Split([]byte("x=zz/a/12345678"))
	if id := p.ID(); id != "" || p.Err() == nil {
		t.Fatalf("read %q, err %v", id, p.Err())
	}
	first := p.Err()
	if id, n, m := p.ID(), p.Number(), p.Newest(); id != "" || n != 0 || m != 0 || p.Err() != first {
		t.Fatalf("after a fault: %q %d %d, err %v", id, n, m, p.Err())
	}
}

// What can be read as a key of ids and a number is exactly what would be written for it.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("xalice/read=3A=2A/\x00\x00\x00\x00\x00\x00\x01\x02"))
	f.Add([]byte("x//\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte("x=41/a/12345678"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, key []byte) {
		p := pebblekv.Split(key)
		a, b := p.ID(), p.ID()
		n := p.Number()
		if p.Err() != nil {
			return
		}
		again := pebblekv.NewKey(key[0]).IDs(a, b).Number(n)
		if !bytes.HasPrefix(key, again) {
			t.Fatalf("%q reads as %q %q %d, which is written %q", key, a, b, n, again)
		}
		if got := binary.BigEndian.Uint64(again[len(again)-8:]); got != n {
			t.Fatalf("number %d, not %d", got, n)
		}
	})
}
