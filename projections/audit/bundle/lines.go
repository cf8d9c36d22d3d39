package bundle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

// maxLine is longer than any commit: a log takes messages of at most 64 MiB.
const maxLine = 64 << 20

// WriteLine writes one value of JSON as a line.
func WriteLine(w io.Writer, value []byte) error {
	if bytes.IndexByte(value, '\n') >= 0 || len(value) == 0 || len(value) > maxLine {
		return fmt.Errorf("%d bytes that are no line", len(value))
	}
	_, err := w.Write(append(bytes.Clone(value), '\n'))
	return err
}

// Lines yields what WriteLine wrote. Each line is the caller's to keep. After an error nothing follows.
func Lines(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		buffered := bufio.NewReaderSize(r, 64<<10)
		for {
			line, err := readLine(buffered)
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(line, err) || err != nil {
				return
			}
		}
	}
}

// readLine gives io.EOF after the last line.
func readLine(r *bufio.Reader) (line []byte, err error) {
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		switch {
		case len(line) > maxLine+1:
			return nil, fmt.Errorf("%w: it has a line of more than %d bytes", ErrDamaged, maxLine)
		case err == nil && len(line) == 1:
			return nil, fmt.Errorf("%w: it has an empty line", ErrDamaged)
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, fmt.Errorf("%w: its last line is cut", ErrDamaged)
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		default:
			return nil, partError(err)
		}
	}
}
