package jetstream

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/minio/highwayhash"

	"github.com/permledger/permledger/ledger"
)

// This file reads the files in which the embedded server keeps messages, without the server. It believes
// nothing, changes nothing and needs no more memory than one file, and so may look where the server must not:
// a flipped sequence number makes nats-server allocate until it is killed, be it at its start or when somebody
// reads the block, and a flipped length makes it cut the block off at that place, when it is merely read.
//
// The format is internal to nats-server and may move with it; a test holds what follows against a store
// written by the one this program is linked with.
//
//	jetstream/<account>/streams/<stream>/msgs/<n>.blk     n counts from 1; messages in order
//
// A block is records without anything between, before or after them. Numbers are little-endian.
//
//	offset  bytes
//	0       4      length of the whole record; the highest bit is set when it has headers
//	4       8      sequence; bit 63: erased, bit 62: a tombstone. Our streams have neither
//	12      8      time, nanoseconds since 1970
//	20      2      length of the subject
//	22             subject
//	               with headers: 4 bytes length of the headers, headers
//	               message
//	end-8   8      HighwayHash-64 of sequence, time, subject, headers, message (bytes 4 to 20, and from 22 on
//	               without the lengths), keyed with SHA-256("<stream>-<n>")
const (
	recordHead    = 22
	recordHash    = 8
	headersBit    = 1 << 31
	erasedBit     = 1 << 63
	tombstoneBit  = 1 << 62
	longestRecord = 64<<20 + headerRoom + recordHead + 1<<16 // the largest payload there is, subject and headers

	// largestBlock is more than a block can have: it is closed once it has 8 MiB.
	largestBlock = 8<<20 + 2*longestRecord
)

// streamFiles are the blocks of one stream.
type streamFiles struct {
	dir  string // of the stream: …/streams/<name>
	name string
	end  atomic.Pointer[position] // how far the block that is being written was looked at, see guard.go
}

// filesOf gives the files of a stream under the directory of a log.
func filesOf(dir, account, stream string) *streamFiles {
	return &streamFiles{dir: filepath.Join(storeDir(dir), account, "streams", stream), name: stream}
}

// block is one file.
type block struct {
	path string
	n    uint64
	key  [sha256.Size]byte
}

// record is one stored message. Its bytes are those of the buffer it was read from.
type record struct {
	seq     uint64
	subject []byte
	data    []byte
	size    int // of the record
}

// blocks lists the files in the order of their messages; none when the stream is not there.
func (f *streamFiles) blocks() ([]block, error) {
	entries, err := os.ReadDir(filepath.Join(f.dir, "msgs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: list the blocks of stream %s: %w", ledger.ErrUnavailable, f.name, err)
	}
	var all []block
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), ".blk")
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil {
			continue
		}
		all = append(all, block{
			path: filepath.Join(f.dir, "msgs", e.Name()), n: n,
			key: sha256.Sum256(fmt.Appendf(nil, "%s-%d", f.name, n)),
		})
	}
	slices.SortFunc(all, func(a, b block) int { return cmp.Compare(a.n, b.n) })
	return all, nil
}

// corrupt says what is wrong with a block, and where.
func (b block) corrupt(offset int, format string, args ...any) error {
	return fmt.Errorf("%w: %s at byte %d: %s", ledger.ErrCorrupt, b.path, offset, fmt.Sprintf(format, args...))
}

func (b block) read() ([]byte, error) { return b.readFrom(0) }

// readFrom reads a block from a place on.
func (b block) readFrom(at int) ([]byte, error) {
	f, err := os.Open(b.path)
	if err != nil {
		return nil, fmt.Errorf("%w: read a block: %w", ledger.ErrUnavailable, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: read a block: %w", ledger.ErrUnavailable, err)
	}
	if info.Size() > largestBlock {
		return nil, b.corrupt(largestBlock, "no block is as large as %d bytes", info.Size())
	}
	buf := make([]byte, max(0, int(info.Size())-at))
	if _, err := io.ReadFull(io.NewSectionReader(f, int64(at), int64(len(buf))), buf); err != nil {
		return nil, fmt.Errorf("%w: read a block: %w", ledger.ErrUnavailable, err)
	}
	return buf, nil
}

var endOfHeaders = []byte("\r\n\r\n")

var errNoRecord = errors.New("no record")

// record decodes the one at the beginning of buf, if there is a whole one with the right checksum.
func (b block) record(buf []byte) (record, error) {
	if len(buf) < recordHead+recordHash {
		return record{}, fmt.Errorf("%w: %d bytes are too few", errNoRecord, len(buf))
	}
	length := binary.LittleEndian.Uint32(buf)
	size, headers := int(length&^headersBit), length&headersBit != 0
	subject := int(binary.LittleEndian.Uint16(buf[20:]))
	least := recordHead + subject + recordHash
	if headers {
		least += 4
	}
	if size < least || size > longestRecord || size > len(buf) {
		return record{}, fmt.Errorf("%w: a length of %d, with %d bytes left", errNoRecord, size, len(buf))
	}
	body := buf[recordHead : size-recordHash]
	r := record{seq: binary.LittleEndian.Uint64(buf[4:]), subject: body[:subject], data: body[subject:], size: size}
	header := []byte(nil)
	if headers {
		n := int(binary.LittleEndian.Uint32(r.data))
		if n > len(r.data)-4 {
			return record{}, fmt.Errorf("%w: %d bytes of headers, of %d", errNoRecord, n, len(r.data)-4)
		}
		header, r.data = r.data[4:4+n], r.data[4+n:]
		// The checksum is the same wherever the headers end, so that is looked at here.
		if end := bytes.Index(header, endOfHeaders); end < 0 || end != n-len(endOfHeaders) {
			return record{}, fmt.Errorf("%w: %d bytes of headers end at the wrong place", errNoRecord, n)
		}
	}
	hash, err := highwayhash.NewDigest64(b.key[:])
	if err != nil {
		return record{}, err
	}
	for _, part := range [][]byte{buf[4:20], r.subject, header, r.data} {
		_, _ = hash.Write(part) // never fails
	}
	if !bytes.Equal(hash.Sum(nil), buf[size-recordHash:size]) {
		return record{}, fmt.Errorf("%w: sequence %d does not match its checksum", errNoRecord, r.seq)
	}
	return r, nil
}

// scan gives the records of a block to each, in order. rest is how many bytes follow the last whole record: the
// beginning of one that was never stored completely, or one that was and is damaged; the block cannot tell.
// Damage is what has a whole record after it.
func (b block) scan(buf []byte, each func(record) error) (rest int, err error) {
	for at := 0; at < len(buf); {
		r, err := b.record(buf[at:])
		if err != nil {
			if after, ok := b.anotherAfter(buf, at); ok {
				return 0, b.corrupt(at, "%v; a whole record stands at byte %d", err, after)
			}
			return len(buf) - at, nil
		}
		if err := each(r); err != nil {
			return 0, fmt.Errorf("%w: %s at byte %d: %w", ledger.ErrCorrupt, b.path, at, err)
		}
		at += r.size
	}
	return 0, nil
}

// anotherAfter looks for a whole record anywhere after a place where there is none.
func (b block) anotherAfter(buf []byte, at int) (int, bool) {
	for at++; at+recordHead+recordHash <= len(buf); at++ {
		// The cheap looks first: a checksum over megabytes at each byte would never end.
		size := int(binary.LittleEndian.Uint32(buf[at:]) &^ headersBit)
		subject := int(binary.LittleEndian.Uint16(buf[at+20:]))
		if size > len(buf)-at || subject == 0 || subject > 1<<10 || size < recordHead+subject+recordHash ||
			bytes.IndexByte(buf[at+recordHead:at+recordHead+subject], 0) >= 0 {
			continue
		}
		if _, err := b.record(buf[at:]); err == nil {
			return at, true
		}
	}
	return 0, false
}

// first is the sequence of the first record; ok is false in a block without one.
func (b block) first() (seq uint64, ok bool, err error) {
	f, err := os.Open(b.path)
	if err != nil {
		return 0, false, fmt.Errorf("%w: read a block: %w", ledger.ErrUnavailable, err)
	}
	defer func() { _ = f.Close() }()
	// Most records are small. One that is not is read with its block, which the caller is about to do anyway.
	buf := make([]byte, 64<<10)
	n, _ := f.ReadAt(buf, 0)
	r, err := b.record(buf[:n])
	if err == nil {
		return r.seq, true, nil
	}
	if buf, err = b.read(); err != nil || len(buf) == 0 {
		return 0, false, err
	}
	if r, err = b.record(buf); err == nil {
		return r.seq, true, nil
	}
	if _, err = b.scan(buf, func(record) error { return nil }); err != nil { // its first record is damaged
		return 0, false, err
	}
	return 0, false, nil // the beginning of a record, and nothing else
}
