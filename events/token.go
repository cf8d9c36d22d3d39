package events

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Token encodes an identifier for use inside a NATS subject or a key. ASCII letters, digits, '-' and '_'
// stand for themselves and every other byte is written =XX in upper-case hex, so the encoding is
// injective, keeps ids readable, and yields none of '.', '*', '>', '/' or white space.
func Token(id string) string {
	plain := true
	for i := 0; i < len(id) && plain; i++ {
		plain = tokenByte(id[i])
	}
	if plain {
		return id
	}
	var b strings.Builder
	b.Grow(len(id) + 16)
	for i := 0; i < len(id); i++ {
		if tokenByte(id[i]) {
			b.WriteByte(id[i])
		} else {
			b.WriteByte('=')
			b.WriteByte("0123456789ABCDEF"[id[i]>>4])
			b.WriteByte("0123456789ABCDEF"[id[i]&15])
		}
	}
	return b.String()
}

// NoToken stands in a subject where there is nothing to name. No encoded id equals it.
const NoToken = "~"

// maxSubjectToken bounds a token inside a subject, because a whole subject must fit the protocol line
// of NATS (4 KiB).
const maxSubjectToken = 200

// SubjectToken is Token bounded to 200 bytes: a longer one is "~" and the SHA-256 of the id in hex. ""
// becomes NoToken. It is injective as far as SHA-256 is.
func SubjectToken(id string) string {
	if id == "" {
		return NoToken
	}
	t := Token(id)
	if len(t) <= maxSubjectToken {
		return t
	}
	sum := sha256.Sum256([]byte(id))
	return "~" + hex.EncodeToString(sum[:])
}

// ParseToken reverses Token. It refuses what Token never writes, so that each id has one encoding.
func ParseToken(t string) (string, error) {
	if !strings.Contains(t, "=") {
		return t, checkPlain(t)
	}
	b := make([]byte, 0, len(t))
	for i := 0; i < len(t); i++ {
		switch {
		case tokenByte(t[i]):
			b = append(b, t[i])
		case t[i] == '=' && i+2 < len(t):
			var c byte
			for _, x := range []byte(t[i+1 : i+3]) {
				d := strings.IndexByte("0123456789ABCDEF", x)
				if d < 0 {
					return "", fmt.Errorf("token %q: %q is not an upper-case hex digit", t, x)
				}
				c = c<<4 | byte(d)
			}
			if tokenByte(c) {
				return "", fmt.Errorf("token %q: escapes %q, which stands for itself", t, c)
			}
			b = append(b, c)
			i += 2
		default:
			return "", fmt.Errorf("token %q: unexpected %q", t, t[i])
		}
	}
	return string(b), nil
}

func checkPlain(t string) error {
	for i := 0; i < len(t); i++ {
		if !tokenByte(t[i]) {
			return fmt.Errorf("token %q: unexpected %q", t, t[i])
		}
	}
	return nil
}

func tokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}
