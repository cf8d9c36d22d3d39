package bundle

import (
	"fmt"

	"github.com/permledger/permledger/events"
)

// Fault is what does not hold in a bundle.
type Fault struct {
	Part     string          // which part; "" for the file as a whole
	Revision events.Revision // the first one at fault; 0 when it is about none
	Err      error
}

func (f *Fault) Error() string {
	text := f.Err.Error()
	if f.Revision > 0 {
		text = fmt.Sprintf("revision %d: %s", f.Revision, text)
	}
	if f.Part != "" {
		text = f.Part + ": " + text
	}
	return text
}

func (f *Fault) Unwrap() error { return f.Err }
