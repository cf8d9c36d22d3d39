package jetstream

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// natsLogger hands what the embedded server says to slog, and remembers why it could not start: the server
// only ever logs that, as it does that its store failed.
type natsLogger struct {
	log  *slog.Logger
	heed func(format, line string) // hears warnings and errors

	mu    sync.Mutex
	fatal string
}

func (l *natsLogger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *natsLogger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *natsLogger) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }

func (l *natsLogger) Errorf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	l.heed(format, line)
	l.log.Error(line)
}

func (l *natsLogger) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Plaintext passwords") {
		return // they are in no file: ours are random, and readers' are the operator's to keep
	}
	line := fmt.Sprintf(format, v...)
	l.heed(format, line)
	l.log.Warn(line)
}

func (l *natsLogger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = fmt.Sprintf(format, v...)
	l.log.Error(l.fatal)
}

func (l *natsLogger) why() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
