package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bimamba/edge/home"
	"bimamba/internal/hass"
)

func (e *env) homeCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "home COMMAND",
		Short: "The house that an assistant is for: take it from Home Assistant, check it, show it",
		Long: `Home makes and looks at home.toml: the floors, areas (rooms) and entities (devices, scenes, lists, ...) of a house, by the names that its people use. It is what the
assistant may act on; what is not in it cannot be switched. bimambad reads it with its option "home".

  language = "en"

  [[floor]]
  id = "upper"
  name = "Upstairs"
  aliases = ["first floor"]

  [[area]]
  id = "bedroom"
  name = "Bedroom"
  floor = "upper"

  [[entity]]
  id = "light.bedside"
  name = "Bedside lamp"
  aliases = ["reading lamp"]
  area = "bedroom"

  confirm = ["script.*", "switch.heater"]     # in front of all tables

The assistant wants a yes before it unlocks, opens a door, a gate or a garage, touches an alarm, or does what is in "confirm": entities' ids, or a domain with ".*".
Scripts and scenes run without one, unless their names speak of doors, locks or alarms: what they do cannot be known, and who exposes one wants it run by voice.

An entity may have "device_class" and "unit", too, as in Home Assistant. Aliases, floors and areas may be left out. The part of an entity's id before the dot says what
kind of thing it is: light, switch, cover, lock, fan, climate, media_player, vacuum, scene, todo, sensor, ...`,
		Example: "  bimamba home sync --ha ws://homeassistant.local:8123 --token-file token\n  bimamba home check home.toml\n  bimamba home show home.toml",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%s has no command %q; `%s --help` lists them", c.CommandPath(), args[0], c.CommandPath())
			}
			return fmt.Errorf("%s needs a command; `%s --help` lists them", c.CommandPath(), c.CommandPath())
		},
		RunE: func(*cobra.Command, []string) error { return nil }, // so that Args is asked
	}
	c.AddCommand(e.homeSyncCmd(), e.homeCheckCmd(), e.homeShowCmd(), e.homeImportCmd())
	return c
}

func (e *env) homeCheckCmd() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "check HOME.toml",
		Short: "Find what the assistant will have trouble with",
		Long: `Check reads HOME.toml as bimambad does, and then looks at the names. Faults are names that cannot be told apart: two things of one kind with one name in one area, two
areas with one name. Hints are names that will hardly be heard (numbers, signs, abbreviations), names that two areas have, where the assistant will ask which one, and
lights, covers, fans, heaters and players in no area.

The exit status is 1 if the file cannot be read or there are faults, else 0.

--json prints a list of {"fault","id","text"}.`,
		Example: "  bimamba home check home.toml",
		Args:    oneFile,
		RunE: func(c *cobra.Command, args []string) error {
			h, err := home.Read(args[0])
			if err != nil {
				return err
			}
			found := h.Check()
			faults := 0
			for _, f := range found {
				if f.Fault {
					faults++
				}
			}
			if asJSON {
				if found == nil {
					found = []home.Finding{}
				}
				err = writeJSON(e.stdout, found)
			} else {
				err = e.printFindings(h, found)
			}
			if err == nil && faults > 0 {
				err = fmt.Errorf("%s has %s", args[0], count(faults, "fault"))
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return c
}

func (e *env) printFindings(h *home.Home, found []home.Finding) error {
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	for _, f := range found {
		kind := "hint"
		if f.Fault {
			kind = "FAULT"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", kind, f.ID, f.Text)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(e.stdout, "%s, language %s\n", sizes(h), h.Language)
	return err
}

// sizes is how much is in a home.
func sizes(h *home.Home) string {
	entities := fmt.Sprintf("%d entities", len(h.Entities))
	if len(h.Entities) == 1 {
		entities = "1 entity"
	}
	return fmt.Sprintf("%s, %s, %s", count(len(h.Floors), "floor"), count(len(h.Areas), "area"), entities)
}

func (e *env) homeShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show HOME.toml",
		Short:   "Print the house by floors and areas",
		Long:    `Show prints floors, the areas on them, and the entities in those, each with its names: the one that it goes by, then the others. What is on no floor or in no area comes last.`,
		Example: "  bimamba home show home.toml",
		Args:    oneFile,
		RunE: func(c *cobra.Command, args []string) error {
			h, err := home.Read(args[0])
			if err != nil {
				return err
			}
			return e.printHome(h)
		},
	}
}

func (e *env) printHome(h *home.Home) error {
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	names := func(name string, aliases []string) string {
		return strings.Join(append([]string{name}, aliases...), ", ")
	}
	entities := func(area, indent string) {
		for i := range h.Entities {
			if x := &h.Entities[i]; x.Area == area {
				fmt.Fprintf(w, "%s%s\t%s\n", indent, names(x.Name, x.Aliases), x.ID)
			}
		}
	}
	areas := func(floor, indent string) {
		for i := range h.Areas {
			if a := &h.Areas[i]; a.Floor == floor {
				fmt.Fprintf(w, "%s%s\n", indent, names(a.Name, a.Aliases))
				entities(a.ID, indent+"  ")
			}
		}
	}
	for i := range h.Floors {
		f := &h.Floors[i]
		fmt.Fprintf(w, "%s\n", names(f.Name, f.Aliases))
		areas(f.ID, "  ")
	}
	areas("", "")
	entities("", "")
	return w.Flush()
}

func (e *env) homeImportCmd() *cobra.Command {
	var out string
	var force bool
	c := &cobra.Command{
		Use:   "import FIXTURES.yaml -o HOME.toml",
		Short: "Make a home.toml of the house in which Home Assistant tests its sentences",
		Long: `Import reads a _fixtures.yaml of the tests of github.com/home-assistant/intents: the house that its test sentences speak of. With it, "bimamba eval --home" measures an
assistant on those sentences. That house is Home Assistant's work, under CC BY 4.0: name it where the file is passed on.`,
		Example: "  bimamba home import tests/en/_fixtures.yaml -o fixtures.toml",
		Args: func(c *cobra.Command, args []string) error {
			if err := oneFile(c, args); err != nil {
				return err
			}
			if out == "" {
				return fmt.Errorf("%s needs -o HOME.toml", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			data, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			h, err := hass.ReadFixtures(data)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			b, err := h.Marshal()
			if err != nil {
				return err
			}
			const source = "# From the tests of github.com/home-assistant/intents, CC BY 4.0.\n"
			if err := writeFile(out, append([]byte(source), b...), 0o644, force); err != nil {
				return err
			}
			_, err = fmt.Fprintf(e.stdout, "%s: %s\n", out, sizes(h))
			return err
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "the file to write")
	c.Flags().BoolVar(&force, "force", false, "replace the file if it exists")
	return c
}

// homeSync keeps a home.toml like the house of a Home Assistant.
type homeSync struct {
	*env
	ha, tokenFile, out string
	url                *url.URL
	token              string
	watch, json, force bool
	quiet              time.Duration // after a change, before the house is read
	first, most        time.Duration // waits between attempts
}

func (e *env) homeSyncCmd() *cobra.Command {
	s := &homeSync{env: e, quiet: 2 * time.Second, first: time.Second, most: time.Minute}
	c := &cobra.Command{
		Use:   "sync --ha ws://HOST:8123 --token-file FILE",
		Short: "Take the house from Home Assistant",
		Long: `Sync reads floors, areas, devices and entities from Home Assistant's WebSocket API and writes those that are exposed to Assist (Settings, Voice assistants, Expose) to
home.toml, with their aliases, areas, classes and units. It changes nothing in Home Assistant. The oldest version that it reads is 2024.4.

The token is a long-lived access token of an administrator: in Home Assistant under your profile, Security. It goes into a file that only you can read; it may do
everything that the user may. At wss:// the certificate is checked.

The file is replaced whole or not at all, and only if something has changed, so that bimambad does not read it again for nothing. A home.toml that was written by hand
is kept unless --force is given: put into Home Assistant what you would put into it. Only its list "confirm" stays as you write it.

With --watch sync goes on: Home Assistant reports what changes, and the file follows after 2 seconds in which nothing more has. Where the connection ends, it is made
again, after 1 second, then 2, 4, ... up to a minute.

As a service under systemd that is bimamba-home.service, which the package installs and leaves off. With the token in /etc/bimamba/home.token (mode 0600) and the line
HA=ws://HOST:8123 in /etc/bimamba/home.env, "systemctl enable --now bimamba-home" keeps /var/lib/bimamba-home/home.toml, and bimambad reads it with the line
home = "/var/lib/bimamba-home/home.toml" in its configuration.

--json prints for every reading {"file","version","written","language","floors","areas","entities","notes"}; language tells whether that has changed, and floors,
areas and entities are {"added","removed","changed"}, lists of IDs.`,
		Example: "  bimamba home sync --ha ws://homeassistant.local:8123 --token-file token -o home.toml\n  bimamba home sync --ha wss://ha.example.org --token-file token -o /etc/bimamba/home.toml --watch",
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return fmt.Errorf("%s takes no arguments, only flags", c.CommandPath())
			case s.ha == "" || s.tokenFile == "" || s.out == "":
				return fmt.Errorf("%s needs --ha ws://HOST:8123 and --token-file FILE", c.CommandPath())
			}
			var err error
			if s.url, err = hass.ParseURL(s.ha); err != nil {
				return fmt.Errorf("--ha: %w", err)
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return s.run(c.Context()) },
	}
	f := c.Flags()
	f.StringVar(&s.ha, "ha", "", "Home Assistant's address, ws://HOST:8123 or wss://HOST")
	f.StringVar(&s.tokenFile, "token-file", "", "file with a long-lived access token")
	f.StringVarP(&s.out, "output", "o", "home.toml", "the file to write")
	f.BoolVar(&s.watch, "watch", false, "go on, and follow what changes")
	f.BoolVar(&s.force, "force", false, "replace a file that sync did not write")
	f.BoolVar(&s.json, "json", false, "print what has changed as JSON")
	return c
}

// synced is the first line of files that sync writes, and may replace.
const synced = "# Written by bimamba home sync; what is changed here by hand gets lost, but for the list confirm.\n"

// syncedBefore is what older versions wrote there.
const syncedBefore = "# Written by bimamba home sync; what is changed here by hand gets lost.\n"

func (s *homeSync) run(ctx context.Context) error {
	var err error
	if s.token, err = readToken(s.tokenFile); err != nil {
		return err
	}
	if err := s.mayWrite(); err != nil {
		return err
	}
	if !s.watch {
		c, err := hass.Dial(ctx, s.url, s.token)
		if err != nil {
			return err
		}
		defer c.Close()
		return s.sync(ctx, c)
	}
	wait := s.first
	for {
		began := time.Now()
		err := s.follow(ctx)
		var fatal writeError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, hass.ErrToken) || errors.As(err, &fatal):
			return err
		}
		if time.Since(began) > s.most {
			wait = s.first
		}
		fmt.Fprintf(s.stderr, "bimamba: %v; the next attempt is in %v\n", err, wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait = min(2*wait, s.most)
	}
}

// readToken reads a token from a file that holds nothing else.
func readToken(name string) (string, error) {
	b, err := readShort(name)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s holds no token: one word of letters, digits and signs", name)
	}
	return token, nil
}

// mayWrite tells why the file may not be replaced.
func (s *homeSync) mayWrite() error {
	if s.force {
		return nil
	}
	b, err := os.ReadFile(s.out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !bytes.HasPrefix(b, []byte(synced)) && !bytes.HasPrefix(b, []byte(syncedBefore)):
		return fmt.Errorf("%s was not written by sync; --force replaces it", s.out)
	}
	return nil
}

// writeError is one that another connection does not mend.
type writeError struct{ error }

func (w writeError) Unwrap() error { return w.error }

// follow syncs until the connection ends.
func (s *homeSync) follow(ctx context.Context) error {
	c, err := hass.Dial(ctx, s.url, s.token)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Subscribe(ctx); err != nil { // first, so that nothing changes unseen
		return err
	}
	for {
		if err := s.sync(ctx, c); err != nil {
			return err
		}
		if err := c.Wait(ctx, s.quiet); err != nil {
			return err
		}
	}
}

// sync reads the house once.
func (s *homeSync) sync(ctx context.Context, c *hass.Client) error {
	h, notes, err := c.Home(ctx)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(s.out)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return writeError{err}
	}
	before, err := home.Parse(old)
	if old == nil || err != nil {
		before = nil
	} else {
		h.Confirm = before.Confirm
	}
	b, err := h.Marshal()
	if err != nil {
		return err
	}
	b = append([]byte(synced), b...)
	d := hass.Compare(before, h)
	written := !bytes.Equal(old, b)
	if written {
		if err := writeFile(s.out, b, 0o644, true); err != nil {
			return writeError{err}
		}
	}
	return s.report(h, d, c.Version(), written, notes)
}

// report prints what a reading brought.
func (s *homeSync) report(h *home.Home, d hass.Diff, version string, written bool, notes []string) error {
	if s.json {
		if notes == nil {
			notes = []string{}
		}
		return writeJSON(s.stdout, struct {
			File    string `json:"file"`
			Version string `json:"version"`
			Written bool   `json:"written"`
			hass.Diff
			Notes []string `json:"notes"`
		}{s.out, version, written, d, notes})
	}
	for _, n := range notes {
		fmt.Fprintf(s.stderr, "bimamba: %s\n", n)
	}
	_, err := fmt.Fprintf(s.stdout, "%s: %s (%s; Home Assistant %s)\n", s.out, d, sizes(h), version)
	return err
}
