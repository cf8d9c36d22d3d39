package consumers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// Client speaks to a ledger's HTTP server. It keeps no state between calls, retries nothing, and may be
// used by several goroutines.
//
//	c, err := consumers.New("http://127.0.0.1:8080", token)
//	d, err := c.Check(ctx, api.Question{
//		Principal:  events.User("alice"),
//		Permission: "read:*",
//		Resource:   api.Resource{Audience: "operate-api"},
//	})
//
// An answer of the server that is no success is an *api.Error with its code, status and whether to try
// again. A *NetworkError means that no answer came: whether the request was carried out is not known. A
// stream that does not end as the server ends it gives ErrIncomplete. The context's end is in the chain of
// whatever it broke off.
type Client struct {
	base      *url.URL
	token     string
	http      *http.Client
	userAgent string
}

// ClientOption changes how a Client works.
type ClientOption func(*Client)

// WithHTTPClient replaces http.DefaultClient. A Timeout in it also ends streams.
func WithHTTPClient(c *http.Client) ClientOption { return func(cl *Client) { cl.http = c } }

// WithUserAgent names the program, before the name of this package.
func WithUserAgent(name string) ClientOption {
	return func(c *Client) { c.userAgent = name + " " + c.userAgent }
}

// NetworkError: the server gave no answer, or not all of it.
type NetworkError struct {
	Doing string // "POST /v1/commands"
	Err   error
}

func (e *NetworkError) Error() string { return e.Doing + ": " + e.Err.Error() }
func (e *NetworkError) Unwrap() error { return e.Err }

// ErrIncomplete: a stream ended without saying that it is whole. What was read of it is not the answer.
var ErrIncomplete = errors.New("the stream ended before it was whole")

// maxAnswer bounds an answer that is read as a whole.
const maxAnswer = 256 << 20

// New makes a client of the server at baseURL. An empty token sends none.
func New(baseURL, token string, options ...ClientOption) (*Client, error) {
	base, err := url.Parse(strings.TrimSuffix(baseURL, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, events.Invalid("server", baseURL, "must be a URL as in http://127.0.0.1:8080")
	}
	c := &Client{base: base, token: strings.TrimSpace(token), http: http.DefaultClient, userAgent: defaultUserAgent()}
	for _, o := range options {
		o(c)
	}
	return c, nil
}

func defaultUserAgent() string {
	version := "devel"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	return fmt.Sprintf("permledger-go/%s (%s)", version, runtime.Version())
}

// Submit has commands carried out. A key makes the request idempotent for ever: the same again gives the
// first answer, so it may be sent again after a NetworkError.
func (c *Client) Submit(ctx context.Context, r api.Request, key string) (api.Receipt, error) {
	return post[api.Receipt](ctx, c, "/v1/commands", r, keyHeader(key))
}

func keyHeader(key string) http.Header {
	header := http.Header{}
	if key != "" {
		header.Set(api.IdempotencyKeyHeader, key)
	}
	return header
}

// Check asks whether a principal may do something.
func (c *Client) Check(ctx context.Context, q api.Question) (api.Decision, error) {
	return get[api.Decision](ctx, c, "/v1/check", q.Values())
}

// Explain asks why, or why not.
func (c *Client) Explain(ctx context.Context, q api.Question) (api.Explanation, error) {
	return get[api.Explanation](ctx, c, "/v1/explain", q.Values())
}

// Intervals asks when. The question's ValidAt does not matter.
func (c *Client) Intervals(ctx context.Context, q api.Question) (api.Intervals, error) {
	return get[api.Intervals](ctx, c, "/v1/intervals", q.Values())
}

// Holdings lists what a principal holds.
func (c *Client) Holdings(ctx context.Context, p events.Principal, w api.When) (api.Holdings, error) {
	return get[api.Holdings](ctx, c, "/v1/holdings", about(p, w))
}

// Holders gives one page of who may do something.
func (c *Client) Holders(ctx context.Context, q api.HoldersQuery) (api.Holders, error) {
	return get[api.Holders](ctx, c, "/v1/holders", q.Values())
}

// AllHolders yields who may do something, page after page of one moment. After an error nothing follows.
func (c *Client) AllHolders(ctx context.Context, q api.HoldersQuery) iter.Seq2[events.Principal, error] {
	return func(yield func(events.Principal, error) bool) {
		for {
			page, err := c.Holders(ctx, q)
			if err != nil {
				yield(events.Principal{}, err)
				return
			}
			for _, p := range page.Principals {
				if !yield(p, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			q.When, q.Page = api.When{Tenant: q.Tenant}, page.Next
		}
	}
}

// Claims gives the permissions of a principal as a token carries them.
func (c *Client) Claims(ctx context.Context, p events.Principal, w api.When) (api.Claims, error) {
	return get[api.Claims](ctx, c, "/v1/claims", about(p, w))
}

// History gives recorded events, oldest first; one answer is bounded, and its More says whether to go on.
func (c *Client) History(ctx context.Context, q api.HistoryQuery) (api.History, error) {
	return get[api.History](ctx, c, "/v1/history", q.Values())
}

// AllHistory yields every recorded event asked for. After an error nothing follows.
func (c *Client) AllHistory(ctx context.Context, q api.HistoryQuery) iter.Seq2[api.Event, error] {
	return func(yield func(api.Event, error) bool) {
		for {
			page, err := c.History(ctx, q)
			if err != nil {
				yield(api.Event{}, err)
				return
			}
			for _, e := range page.Events {
				if !yield(e, nil) {
					return
				}
				if q.Newest {
					q.Before = e.Position
				} else {
					q.After = e.Position
				}
			}
			if !page.More {
				return
			}
		}
	}
}

// Diff gives what changed in effective access between two points.
func (c *Client) Diff(ctx context.Context, q api.DiffQuery) (api.Difference, error) {
	return get[api.Difference](ctx, c, "/v1/diff", q.Values())
}

// Catalogs lists the loaded catalogs and those the server can load by name.
func (c *Client) Catalogs(ctx context.Context, w api.When) (api.Catalogs, error) {
	return get[api.Catalogs](ctx, c, "/v1/catalogs", w.Values())
}

// Catalog describes one catalog by every exact name.
func (c *Client) Catalog(ctx context.Context, name events.Catalog, w api.When) (api.Catalog, error) {
	return get[api.Catalog](ctx, c, "/v1/catalogs/"+segment(string(name)), w.Values())
}

// LoadCatalog brings a tenant to a version of a catalog. For the key see Submit.
func (c *Client) LoadCatalog(ctx context.Context, l api.CatalogLoad, key string) (api.Receipt, error) {
	return post[api.Receipt](ctx, c, "/v1/catalogs", l, keyHeader(key))
}

// Roles, Role, Groups and Group describe roles and groups.
func (c *Client) Roles(ctx context.Context, w api.When) (api.Roles, error) {
	return get[api.Roles](ctx, c, "/v1/roles", w.Values())
}

func (c *Client) Role(ctx context.Context, role events.Role, w api.When) (api.RoleAnswer, error) {
	return get[api.RoleAnswer](ctx, c, "/v1/roles/"+segment(string(role)), w.Values())
}

func (c *Client) Groups(ctx context.Context, w api.When) (api.Groups, error) {
	return get[api.Groups](ctx, c, "/v1/groups", w.Values())
}

func (c *Client) Group(ctx context.Context, group events.Group, w api.When) (api.GroupAnswer, error) {
	return get[api.GroupAnswer](ctx, c, "/v1/groups/"+segment(string(group)), w.Values())
}

// Principal says who is behind the id of a user, client or mapping rule, in a tenant ("" is the default one).
func (c *Client) Principal(ctx context.Context, tenant events.Tenant, p events.Principal) (api.PrincipalAnswer, error) {
	return get[api.PrincipalAnswer](ctx, c, "/v1/principals/"+segment(string(p.Kind))+"/"+segment(p.ID), api.When{Tenant: tenant}.Values())
}

// Status says how far the server is.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	return get[api.Status](ctx, c, "/v1/status", nil)
}

// Verify asks the server to verify its ledger, and tells how far it is. What it says of itself is worth what the
// server is: whoever does not trust it verifies its data, or a proof.
func (c *Client) Verify(ctx context.Context, q api.VerifyRequest, progress func(done, of events.Revision)) (api.VerifyReport, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return api.VerifyReport{}, err
	}
	var report *api.VerifyReport
	for v, err := range streamed[api.Verified](ctx, c, http.MethodPost, "/v1/verify", nil, body) {
		if err != nil {
			return api.VerifyReport{}, err
		}
		if progress != nil {
			progress(v.Revision, v.Of)
		}
		report = v.Report
	}
	if report == nil {
		return api.VerifyReport{}, &NetworkError{"POST /v1/verify", ErrIncomplete}
	}
	return *report, nil
}

// Ready is nil when the server is ready to answer; an *api.Error says why it is not.
func (c *Client) Ready(ctx context.Context) error {
	_, err := get[json.RawMessage](ctx, c, "/readyz", nil)
	return err
}

// Evaluate asks an AuthZEN question.
func (c *Client) Evaluate(ctx context.Context, e api.Evaluation) (api.Verdict, error) {
	return post[api.Verdict](ctx, c, "/access/v1/evaluation", e, nil)
}

// EvaluateAll asks several AuthZEN questions of one moment.
func (c *Client) EvaluateAll(ctx context.Context, e api.Evaluations) (api.Verdicts, error) {
	return post[api.Verdicts](ctx, c, "/access/v1/evaluations", e, nil)
}

// Effective yields the whole effective set, sorted by principal, permission and resource. After an error
// nothing follows; only a loop that ends without one has seen the whole set.
func (c *Client) Effective(ctx context.Context, w api.When) iter.Seq2[api.Grantee, error] {
	return stream[api.Grantee](ctx, c, "/v1/effective", w.Values())
}

// Events yields recorded events. With Follow it goes on until ctx ends or the server goes away.
func (c *Client) Events(ctx context.Context, q api.EventsQuery) iter.Seq2[api.Event, error] {
	return stream[api.Event](ctx, c, "/v1/events", q.Values())
}

// segment escapes an id as one segment of a path. The ids "." and ".." would be taken for directories.
func segment(id string) string {
	if id == "." || id == ".." {
		return strings.ReplaceAll(id, ".", "%2E")
	}
	return url.PathEscape(id)
}

func about(p events.Principal, w api.When) url.Values {
	v := w.Values()
	v.Set("principal", p.String())
	return v
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	return answer[T](ctx, c, http.MethodGet, path, query, nil, nil)
}

func post[T any](ctx context.Context, c *Client, path string, body any, header http.Header) (T, error) {
	var none T
	b, err := json.Marshal(body)
	if err != nil {
		return none, fmt.Errorf("encode POST %s: %w", path, err)
	}
	return answer[T](ctx, c, http.MethodPost, path, nil, b, header)
}

func answer[T any](ctx context.Context, c *Client, method, path string, query url.Values, body []byte, header http.Header) (T, error) {
	var into T
	resp, err := c.do(ctx, method, path, query, body, header)
	if err != nil {
		return into, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return into, &NetworkError{method + " " + path, err}
	}
	if err := json.Unmarshal(b, &into); err != nil {
		return into, fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return into, nil
}

// do sends a request and gives the answer of a success; any other is an error and its body is closed.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body []byte, header http.Header) (*http.Response, error) {
	target := c.base.String() + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("User-Agent", c.userAgent)
	r.Header.Set("Accept", "application/json, "+api.JSONLinesContentType+", "+api.ProblemContentType)
	if r.Header.Get(api.RequestIDHeader) == "" {
		r.Header.Set(api.RequestIDHeader, uuid.NewString())
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, &NetworkError{method + " " + path, err}
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, problem(resp)
}

// problem reads an answer that is no success. One that is not the ledger's own (a proxy's, a wrong URL)
// becomes an Error without a code.
func problem(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	e := &api.Error{}
	if kind == api.ProblemContentType && json.Unmarshal(b, e) == nil && e.Code != "" {
		return e
	}
	text := strings.TrimSpace(string(b))
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return &api.Error{
		Status: resp.StatusCode, Title: http.StatusText(resp.StatusCode), Detail: text,
		Instance: resp.Header.Get(api.RequestIDHeader),
	}
}

// stream yields one value a line. The server ends a whole stream with a trailer that counts the rows, and
// breaks the connection otherwise; a proxy that cuts it cleanly leaves the trailer out.
func stream[T any](ctx context.Context, c *Client, path string, query url.Values) iter.Seq2[T, error] {
	return streamed[T](ctx, c, http.MethodGet, path, query, nil)
}

func streamed[T any](ctx context.Context, c *Client, method, path string, query url.Values, body []byte) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		doing := method + " " + path
		resp, err := c.do(ctx, method, path, query, body, nil)
		if err != nil {
			yield(none, err)
			return
		}
		defer resp.Body.Close()
		rows := 0
		lines := bufio.NewReaderSize(resp.Body, 64<<10)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				if err := streamEnd(doing, resp, line, rows, err); err != nil {
					yield(none, err)
				}
				return
			}
			if len(line) == 1 {
				continue // a sign of life
			}
			var row T
			if err := json.Unmarshal(line, &row); err != nil {
				yield(none, fmt.Errorf("%s: read row %d: %w", doing, rows+1, err))
				return
			}
			rows++
			if !yield(row, nil) {
				return
			}
		}
	}
}

// streamEnd judges how a stream ended: nil only if it is whole.
func streamEnd(doing string, resp *http.Response, rest []byte, rows int, err error) error {
	if !errors.Is(err, io.EOF) {
		return &NetworkError{doing, fmt.Errorf("%w: %w", ErrIncomplete, err)}
	}
	if told := resp.Trailer.Get(api.CompleteTrailer); len(rest) > 0 || told != strconv.Itoa(rows) {
		return &NetworkError{doing, fmt.Errorf("%w: %d rows came, the server counted %q", ErrIncomplete, rows, told)}
	}
	return nil
}
