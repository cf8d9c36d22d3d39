package jetstream

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// The embedded server has three accounts, because permissions on subjects are not enough. JetStream
// answers to whatever reply subject a request names and delivers to whatever subject a consumer names,
// with its own rights and not the asker's: in one shared account a reader who may only ask for the state
// of EVENTS can name the ledger's subject for the answer, and the answer is stored as a commit. Subjects
// of different accounts have nothing in common.
//
//	LEDGER   the streams LEDGER and JOURNAL. One user, this process, which can neither update nor purge
//	         nor delete them.
//	FEED     the stream EVENTS. One user, this process.
//	READERS  no stream. Asks FEED through the services below; answers come back into READERS, and a
//	         consumer that delivers into EVENTS itself is refused by the server as a cycle. Hears FEED's
//	         signed checkpoints.
const (
	ledgerAccount  = "LEDGER"
	feedAccount    = "FEED"
	readersAccount = "READERS"

	feedStream = "EVENTS"

	// checkpointSubject is where the ledger publishes signed checkpoints, on the connection of the feed. Readers
	// hear them, and cannot publish there themselves.
	checkpointSubject = "permledger.checkpoint"

	// inboxPrefix keeps the replies of this process apart from those of readers (_INBOX).
	inboxPrefix = "_INBOX_LEDGER"
)

// readerServices are the subjects readers may publish to, all of them requests about EVENTS: look at it,
// have pull consumers on it, get its messages. streamed ones have many answers.
var readerServices = []struct {
	subject  string
	streamed bool
}{
	{"$JS.API.INFO", false},
	{"$JS.API.STREAM.NAMES", false},
	{"$JS.API.STREAM.INFO." + feedStream, false},
	{"$JS.API.STREAM.MSG.GET." + feedStream, false},
	{"$JS.API.DIRECT.GET." + feedStream, true},
	{"$JS.API.DIRECT.GET." + feedStream + ".>", true},
	{"$JS.API.CONSUMER.CREATE." + feedStream, false},
	{"$JS.API.CONSUMER.CREATE." + feedStream + ".>", false},
	{"$JS.API.CONSUMER.INFO." + feedStream + ".>", false},
	{"$JS.API.CONSUMER.DELETE." + feedStream + ".>", false},
	{"$JS.API.CONSUMER.MSG.NEXT." + feedStream + ".>", true},
	{"$JS.ACK." + feedStream + ".>", false},
}

// accounts is the accounts in the configuration language of nats-server, which can say things that have no
// exported field.
func accounts() string {
	var exports, imports strings.Builder
	for _, s := range readerServices {
		response := ""
		if s.streamed {
			response = ", response: stream"
		}
		fmt.Fprintf(&exports, "{service: %q, accounts: [%s]%s}\n", s.subject, readersAccount, response)
		fmt.Fprintf(&imports, "{service: {account: %s, subject: %q}}\n", feedAccount, s.subject)
	}
	fmt.Fprintf(&exports, "{stream: %q, accounts: [%s]}\n", checkpointSubject, readersAccount)
	fmt.Fprintf(&imports, "{stream: {account: %s, subject: %q}}\n", feedAccount, checkpointSubject)
	return fmt.Sprintf("accounts {\n"+
		"%s { jetstream: enabled }\n"+
		"%s { jetstream: enabled, exports: [\n%s] }\n"+
		"%s { imports: [\n%s] }\n}\n",
		ledgerAccount, feedAccount, &exports, readersAccount, &imports)
}

// login is a user of the embedded server that this process itself is.
type login struct{ user, password string }

// The password is made anew by every process and told to nobody.
func newLogin(account string) login { return login{strings.ToLower(account), rand.Text()} }

// addUsers gives opts, which has the accounts, their users. Nobody else can connect.
func addUsers(opts *server.Options, cfg Config, ledger, feed login) {
	byName := map[string]*server.Account{}
	for _, a := range opts.Accounts {
		byName[a.Name] = a
	}
	opts.Users = []*server.User{
		{Username: ledger.user, Password: ledger.password, Account: byName[ledgerAccount], Permissions: ledgerPermissions(cfg)},
		{Username: feed.user, Password: feed.password, Account: byName[feedAccount]},
	}
	if cfg.Listen != "" {
		opts.Users = append(opts.Users, &server.User{
			Username: cfg.ReaderUser, Password: cfg.ReaderPassword,
			Account: byName[readersAccount], Permissions: readerPermissions(),
		})
	}
}

// ledgerPermissions let this process create, fill and read its two streams. Nothing it holds can update,
// purge or delete them.
func ledgerPermissions(cfg Config) *server.Permissions {
	publish := []string{ledgerSubject, journalSubject}
	for _, stream := range []string{cfg.LedgerStream, cfg.JournalStream} {
		publish = append(publish,
			"$JS.API.STREAM.INFO."+stream,
			"$JS.API.STREAM.CREATE."+stream,
			"$JS.API.STREAM.MSG.GET."+stream,
			"$JS.API.DIRECT.GET."+stream,
			"$JS.API.CONSUMER.CREATE."+stream+".>",
			"$JS.API.CONSUMER.DELETE."+stream+".>",
			"$JS.API.CONSUMER.MSG.NEXT."+stream+".>",
		)
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: []string{inboxPrefix + ".>"}},
	}
}

func readerPermissions() *server.Permissions {
	var publish []string
	for _, s := range readerServices {
		publish = append(publish, s.subject)
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>", checkpointSubject}},
	}
}
