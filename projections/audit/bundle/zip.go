package bundle

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// ErrDamaged: the file is not whole, or not in the form Writer writes.
var ErrDamaged = errors.New("damaged file")

// Writer writes a bundle, one part after the other, to something that need not be a file. The same parts in the
// same order are the same bytes: there are no times and no attributes in it.
type Writer struct{ zip *zip.Writer }

func NewWriter(w io.Writer) *Writer { return &Writer{zip.NewWriter(w)} }

// Create begins the next part. The one before ends with it.
func (w *Writer) Create(name string) (io.Writer, error) {
	if !goodName.MatchString(name) {
		return nil, fmt.Errorf("a part cannot be called %q", name)
	}
	return w.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
}

// Add writes a whole part.
func (w *Writer) Add(name string, content []byte) error {
	part, err := w.Create(name)
	if err == nil {
		_, err = part.Write(content)
	}
	return err
}

// Close ends the bundle. Without it the file is not whole, and Open says so.
func (w *Writer) Close() error { return w.zip.Close() }

// goodName is what parts are called: no name that leads out of a directory, or that two systems read differently.
var goodName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*(\.[a-z]+)?(/[A-Za-z0-9][A-Za-z0-9_-]*(\.[a-z]+)?)?$`)

// Reader reads a bundle whose maker is not trusted.
type Reader struct{ zip *zip.Reader }

// inflate unpacks a part, and refuses what is packed behind the end of its content: no reader would see it.
func inflate(packed io.Reader) io.ReadCloser {
	buffered := bufio.NewReader(packed) // from which flate reads no byte too many
	return &inflating{flate.NewReader(buffered), buffered}
}

type inflating struct {
	io.ReadCloser
	packed *bufio.Reader
}

func (i *inflating) Read(b []byte) (int, error) {
	n, err := i.ReadCloser.Read(b)
	if err == io.EOF {
		if _, more := i.packed.ReadByte(); more != io.EOF {
			err = fmt.Errorf("%w: something is packed behind its content", ErrDamaged)
		}
	}
	return n, err
}

// Open reads the list of parts. A zip can hold a name twice, bytes that no part owns, and a list at its end that
// says something else than the parts themselves, so that two programs unpack two things from one file. So what is
// in the file besides the packed contents must be, byte for byte, what Writer writes around such contents.
func Open(r io.ReaderAt, size int64) (*Reader, error) {
	opened, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not a whole zip file: %w", ErrDamaged, err)
	}
	seen := map[string]bool{}
	for _, f := range opened.File {
		switch {
		case !goodName.MatchString(f.Name):
			return nil, fmt.Errorf("%w: it has a part called %.100q", ErrDamaged, f.Name)
		case seen[f.Name]:
			return nil, fmt.Errorf("%w: it has two parts called %s", ErrDamaged, f.Name)
		}
		seen[f.Name] = true
	}
	if err := sameForm(opened, r, size); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	opened.RegisterDecompressor(zip.Deflate, inflate)
	return &Reader{opened}, nil
}

// sameForm packs the packed contents again and compares the result with the file.
func sameForm(opened *zip.Reader, r io.ReaderAt, size int64) error {
	file := &comparer{with: io.NewSectionReader(r, 0, size)}
	again := zip.NewWriter(file)
	for _, f := range opened.File {
		packed, err := f.OpenRaw()
		if err != nil {
			return err
		}
		part, err := again.CreateRaw(&zip.FileHeader{
			Name: f.Name, Method: zip.Deflate, Flags: descriptorFollows, CreatorVersion: zipVersion, ReaderVersion: zipVersion,
			CRC32: f.CRC32, CompressedSize64: f.CompressedSize64, UncompressedSize64: f.UncompressedSize64,
		})
		if err == nil {
			_, err = io.Copy(part, packed)
		}
		if err != nil {
			return err
		}
	}
	if err := again.Close(); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, file.with); n > 0 || err != nil {
		return fmt.Errorf("%d bytes follow its end", n)
	}
	return nil
}

// What zip.Writer puts into the header of a part whose size it does not know beforehand.
const (
	descriptorFollows = 0x8
	zipVersion        = 20
)

// comparer is a writer that fails when it is written something else than with holds.
type comparer struct {
	with   io.Reader
	buffer []byte
}

var errOtherForm = errors.New("it is not in the form this program writes")

func (c *comparer) Write(b []byte) (int, error) {
	if cap(c.buffer) < len(b) {
		c.buffer = make([]byte, len(b))
	}
	have := c.buffer[:len(b)]
	if _, err := io.ReadFull(c.with, have); err != nil || !bytes.Equal(have, b) {
		return 0, errOtherForm
	}
	return len(b), nil
}

// Names are the parts in their order.
func (r *Reader) Names() []string {
	names := make([]string, len(r.zip.File))
	for i, f := range r.zip.File {
		names[i] = f.Name
	}
	return names
}

// Open gives the content of a part. It ends with io.EOF only if it is whole, by length and checksum.
func (r *Reader) Open(name string) (io.ReadCloser, error) {
	for _, f := range r.zip.File {
		if f.Name == name {
			return f.Open()
		}
	}
	return nil, fmt.Errorf("%w: it has no part called %s", ErrDamaged, name)
}

// ReadAll gives the content of a part that must be small.
func (r *Reader) ReadAll(name string, atMost int64) ([]byte, error) {
	part, err := r.Open(name)
	if err != nil {
		return nil, err
	}
	defer part.Close()
	b, err := io.ReadAll(io.LimitReader(part, atMost+1))
	switch {
	case err != nil:
		return nil, partError(err)
	case int64(len(b)) > atMost:
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrDamaged, atMost)
	}
	return b, nil
}

// partError tells what unpacking met.
func partError(err error) error {
	if errors.Is(err, zip.ErrChecksum) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, zip.ErrFormat) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}
