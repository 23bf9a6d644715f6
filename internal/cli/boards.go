package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bimamba/edge/daemon"
	"bimamba/edge/mdns"
)

// maxStatus is the size of an answer to /status that is read at most.
const maxStatus = 64 << 10

// boardStatus is a daemon on the network. What it did not say is null or "".
type boardStatus struct {
	Name    string   `json:"name"`
	Host    string   `json:"host"`
	URL     string   `json:"url"`
	Model   string   `json:"model"`
	Version string   `json:"version"`
	Kernel  string   `json:"kernel,omitempty"`
	RSS     *int64   `json:"rss_bytes"`
	Prefill *float64 `json:"prefill_tokens_per_s"`
	Decode  *float64 `json:"tokens_per_s"`
	Celsius *float64 `json:"celsius"`
	Watts   *float64 `json:"watts"`
	Error   string   `json:"error,omitempty"`
	ID      string   `json:"id,omitempty"`        // of its present run, as it says on the network
	Same    []string `json:"same_name,omitempty"` // URLs of others that have its name, or had and took a number
}

func (e *env) boardsCmd() *cobra.Command {
	var wait time.Duration
	var tokenFile string
	var asJSON bool
	c := &cobra.Command{
		Use:   "boards [URL]...",
		Short: "List the daemons on the local network",
		Long: `Boards asks the local network for daemons that announce themselves (multicast DNS, _bimamba._tcp; bimambad's option mdns), and each of them for its model, memory, speed,
temperature and version. With URLs it asks those instead.

Two boards of one name are two lines. A daemon that finds its name taken goes by another: kitchen-2.local, "Bi-Mamba on kitchen (2)". Which board has which may change when they
start, so a line below the table says so; in JSON, "same_name" lists the other addresses. "id" is another one at each start of a daemon.

A daemon that other machines reach wants its token for more than its name: --token-file names a file with it. The token is sent to the URLs that are named and to nobody else:
whoever answers on the network could have it otherwise. The temperature is there if the board has a sensor.`,
		Example: "  bimamba boards\n  bimamba boards http://kitchen.local:11434 --token-file kitchen.token --json",
		RunE: func(c *cobra.Command, args []string) error {
			if wait <= 0 || wait > time.Minute {
				return fmt.Errorf("--wait %v is not within 1ms and 1m", wait)
			}
			token := ""
			if tokenFile != "" && len(args) == 0 {
				return errors.New("--token-file goes with URLs: whoever answers on the network would have the token otherwise; call it without first to see them")
			}
			if tokenFile != "" {
				b, err := readShort(tokenFile)
				if err != nil {
					return err
				}
				token = strings.TrimSpace(string(b))
			}
			list, err := findDaemons(c.Context(), args, wait)
			if err != nil {
				return err
			}
			var all sync.WaitGroup
			for i := range list {
				all.Go(func() { list[i].ask(c.Context(), token) })
			}
			all.Wait()
			if asJSON {
				return writeJSON(e.stdout, list)
			}
			if len(list) == 0 {
				fmt.Fprintf(e.stderr, "no daemon answered within %v; those that listen on loopback alone do not announce themselves\n", wait)
				return nil
			}
			return printDaemons(e.stdout, list)
		},
	}
	f := c.Flags()
	f.DurationVar(&wait, "wait", 1500*time.Millisecond, "how long answers are waited for")
	f.StringVar(&tokenFile, "token-file", "", "with URLs: the file with the daemons' token")
	f.BoolVar(&asJSON, "json", false, "print a JSON array")
	return c
}

// hostForm is a host's name or address as it stands in a URL.
var hostForm = regexp.MustCompile(`^([A-Za-z0-9._-]{1,255}|\[[0-9a-fA-F:.]+\])$`)

// findDaemons is the daemons at some addresses, or those that answer on the network.
func findDaemons(ctx context.Context, urls []string, wait time.Duration) ([]boardStatus, error) {
	list := []boardStatus{}
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("%s is no address of a daemon, as http://kitchen.local:11434", raw)
		}
		list = append(list, boardStatus{Name: u.Hostname(), Host: u.Hostname(), URL: u.Scheme + "://" + u.Host})
	}
	if len(urls) > 0 {
		return list, nil
	}
	ctx, stop := context.WithTimeout(ctx, wait)
	defer stop()
	found, err := mdns.Browse(ctx, daemon.ServiceType)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		b := boardStatus{Name: f.Instance, Host: f.Host, ID: f.Value(mdns.IDKey)}
		scheme := "http"
		for _, t := range f.Text {
			switch key, value, _ := strings.Cut(t, "="); key {
			case "model":
				b.Model = value
			case "version":
				b.Version = value
			case "tls":
				scheme = "https"
			}
		}
		host := f.Host
		if i := slices.IndexFunc(f.Addrs, netip.Addr.Is4); i >= 0 {
			host = f.Addrs[i].String()
		} else if len(f.Addrs) > 0 {
			host = "[" + f.Addrs[0].String() + "]"
		}
		if !hostForm.MatchString(host) { // it is whatever somebody sent
			continue
		}
		b.URL = scheme + "://" + host + ":" + strconv.Itoa(int(f.Port))
		list = append(list, b)
	}
	sameNames(list)
	return list, nil
}

// numberedName is a name that a daemon took because another has it: the first group is that one.
var numberedName = regexp.MustCompile(`^(.+) \(([2-9]|[1-9][0-9]+)\)$`)

// givenName is a board's name as it was given to it, without a number.
func givenName(b *boardStatus) string {
	if m := numberedName.FindStringSubmatch(b.Name); m != nil {
		return strings.ToLower(m[1])
	}
	return strings.ToLower(b.Name)
}

// sameNames finds boards of one name.
func sameNames(list []boardStatus) {
	for i := range list {
		for j := range list {
			if i != j && givenName(&list[i]) == givenName(&list[j]) {
				list[i].Same = append(list[i].Same, list[j].URL)
			}
		}
	}
}

// ask fills in what the daemon says of itself.
func (b *boardStatus) ask(ctx context.Context, token string) {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, "GET", b.URL+"/status", nil)
	if err != nil {
		b.Error = err.Error()
		return
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Error = err.Error()
		return
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		b.Error = "it wants its token: --token-file"
		return
	case res.StatusCode != http.StatusOK:
		b.Error = "it answered " + res.Status
		return
	}
	var s struct {
		Version string
		Model   struct{ Name string }
		Kernel  string
		Memory  struct{ RSS int64 }
		Tokens  struct{ Prefill, Decode *float64 } `json:"tokens_per_s"`
		Energy  *struct{ Watts, Celsius *float64 }
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxStatus)).Decode(&s); err != nil || s.Version == "" {
		b.Error = "what it answered is no status of bimambad's"
		return
	}
	b.Version, b.Model, b.Kernel, b.Prefill, b.Decode = s.Version, s.Model.Name, s.Kernel, s.Tokens.Prefill, s.Tokens.Decode
	if s.Memory.RSS > 0 {
		b.RSS = &s.Memory.RSS
	}
	if s.Energy != nil {
		b.Celsius, b.Watts = s.Energy.Celsius, s.Energy.Watts
	}
}

func printDaemons(out io.Writer, list []boardStatus) error {
	number := func(v *float64, format string) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprintf(format, *v)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "name\taddress\tmodel\tmemory\ttokens/s\ttemperature\twatts\tversion\t")
	for _, b := range list {
		memory := "-"
		if b.RSS != nil {
			memory = mega(*b.RSS)
		}
		text := func(s string) string {
			if s == "" {
				return "-"
			}
			return strings.Map(printableRune, s)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", text(b.Name), text(b.URL), text(b.Model), memory, number(b.Decode, "%.1f"), number(b.Celsius, "%.1f C"), number(b.Watts, "%.2f"),
			text(b.Version), strings.Map(printableRune, b.Error))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	said := map[string]bool{}
	for i, b := range list {
		if name := givenName(&list[i]); len(b.Same) > 0 && !said[name] {
			said[name] = true
			if _, err := fmt.Fprintf(out, "%d boards have the name %q, and may change places when they start: give each its own with `sudo hostnamectl set-hostname NAME`, and start it again: %s\n",
				len(b.Same)+1, strings.Map(printableRune, numberedName.ReplaceAllString(b.Name, "$1")), strings.Join(append([]string{b.URL}, b.Same...), " ")); err != nil {
				return err
			}
		}
	}
	return nil
}

// printableRune keeps what others say of themselves from moving the cursor.
func printableRune(r rune) rune {
	if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
		return '?'
	}
	return r
}
