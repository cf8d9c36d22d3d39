package personal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/permledger/permledger/events"
)

// secret is what a key file holds: the root of the two keys that seal.
type secret [32]byte

const (
	nonceBytes = 12
	padTo      = 64
)

// derive gives the key for one purpose. The purposes are part of the format of every box ever sealed.
func (s secret) derive(purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, s[:], nil, "permledger personal 1 "+purpose, 32)
}

// boundTo is the additional data of a box. No id holds a NUL, so no two of them read the same.
func boundTo(t events.Tenant, p events.Principal, key events.PersonalKey) []byte {
	return append([]byte("permledger personal 1\x00"+string(t)+"\x00"+p.String()+"\x00"), key[:]...)
}

// seal gives nonce and ciphertext of text.
func (s secret) seal(text, bound []byte) ([]byte, error) {
	aead, err := s.aead()
	if err != nil {
		return nil, err
	}
	padded := pad(text)
	nonce, err := s.nonce(padded, bound)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nonce, nonce, padded, bound), nil
}

// open gives the text of a box, or ErrDamaged. That the nonce is the one the text asks for is checked, too: then a
// box that opens is the only one for its text.
func (s secret) open(box, bound []byte) ([]byte, error) {
	aead, err := s.aead()
	if err != nil {
		return nil, err
	}
	if len(box) < nonceBytes+aead.Overhead() {
		return nil, fmt.Errorf("%w: it is %d bytes", ErrDamaged, len(box))
	}
	padded, err := aead.Open(nil, box[:nonceBytes], box[nonceBytes:], bound)
	if err != nil {
		return nil, ErrDamaged
	}
	nonce, err := s.nonce(padded, bound)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(nonce, box[:nonceBytes]) {
		return nil, ErrDamaged
	}
	return unpad(padded)
}

func (s secret) aead() (cipher.AEAD, error) {
	key, err := s.derive("encrypt")
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (s secret) nonce(padded, bound []byte) ([]byte, error) {
	key, err := s.derive("nonce")
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(bound) // of one length for one key, so the two cannot be divided otherwise
	mac.Write(padded)
	return mac.Sum(nil)[:nonceBytes:nonceBytes], nil
}

// pad ends a text with 0x80 and zeroes, up to the next multiple of padTo.
func pad(text []byte) []byte {
	padded := make([]byte, (len(text)/padTo+1)*padTo)
	copy(padded, text)
	padded[len(text)] = 0x80
	return padded
}

func unpad(padded []byte) ([]byte, error) {
	text := bytes.TrimRight(padded, "\x00")
	if len(text) == 0 || text[len(text)-1] != 0x80 {
		return nil, fmt.Errorf("%w: it is padded wrongly", ErrDamaged)
	}
	return text[:len(text)-1], nil
}
