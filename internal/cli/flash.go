package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bimamba/boards/flash"
)

// flashFlags are what `bimamba flash` is told.
type flashFlags struct {
	bmap, serial string
	force, json  bool
}

func (e *env) flashCmd() *cobra.Command {
	var f flashFlags
	c := &cobra.Command{
		Use:   "flash [IMAGE TARGET]",
		Short: "Write an image to a card, and verify it",
		Long: `Flash writes IMAGE, a card's image as it is or packed as .xz or .gz, to TARGET: a device such as /dev/sdX, or a file. Without TARGET it lists the disks that can be
taken out, and what keeps any of them from being written.

A device is written only if it is a whole disk, an SD card or on USB or removable, and nothing uses it: it is not mounted, swap, part of another device, and does not
hold the running system. No flag overrides that. Flash asks for the device's name before it writes; in scripts --yes gives its serial number, and nothing is written if
that is another one. The serial number of a card in a USB reader is the reader's.

All that was written is read back past the page cache and compared by SHA-256. The partition table is written last, when all else is on the card: a card on which flash
did not finish has none, so no board starts from half an image. Called again, flash compares what the card holds and goes on from the first difference; a card that
holds the image already is only compared.

With a block map, IMAGE.bmap of bmaptool's format 2.0 ("bimamba image" writes one), only the blocks in use are written, and each range is checked against the map's SHA-256. It is found beside
IMAGE, also by its name without .xz, .gz and .img. What the card held in the other blocks stays there.

A file appears whole or not at all, with holes where the image is zero; --force replaces one that exists.

The exit status is 0 if TARGET holds the image, 1 if it does not, and 130 if flash was interrupted; then a line says what TARGET holds.`,
		Example: "  bimamba flash\n  sudo bimamba flash kitchen.img /dev/sdX\n  sudo bimamba flash kitchen.img.xz /dev/disk/by-id/usb-... --yes 000000001206 --json\n" +
			"  bimamba flash raspios.img.xz raspios.img",
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) > 2:
				return fmt.Errorf("%s takes one IMAGE and one TARGET, not %d names", c.CommandPath(), len(args))
			case len(args) < 2 && (f.serial != "" || f.force):
				return fmt.Errorf("--yes and --force belong to IMAGE and TARGET")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			root := os.DirFS("/")
			if len(args) == 0 {
				return e.listDisks(root, 0, &f)
			}
			img, err := flash.Open(args[0], f.bmap)
			if err != nil {
				return err
			}
			defer img.Close()
			if len(args) == 1 {
				return e.listDisks(root, img.Size(), &f)
			}
			return e.flash(c.Context(), root, img, args[1], &f)
		},
	}
	s := c.Flags()
	s.StringVar(&f.serial, "yes", "", "do not ask: TARGET is the device with this serial number")
	s.StringVar(&f.bmap, "bmap", "", "the image's block map (default: the one beside it)")
	s.BoolVar(&f.force, "force", false, "replace TARGET if it is a file that exists")
	s.BoolVar(&f.json, "json", false, "print the list or the report as JSON")
	return c
}

// listDisks lists the removable disks, and why an image of size bytes cannot be written to one.
func (e *env) listDisks(root fs.FS, size int64, f *flashFlags) error {
	all, err := flash.Devices(root)
	if err != nil {
		return err
	}
	type entry struct {
		Device  string   `json:"device"`
		Bytes   int64    `json:"bytes"`
		Vendor  string   `json:"vendor"`
		Model   string   `json:"model"`
		Serial  string   `json:"serial"`
		Bus     string   `json:"bus"`
		Uses    []string `json:"uses"`
		Refused string   `json:"refused"`
	}
	list := []entry{}
	for _, d := range all {
		if !d.Removable {
			continue
		}
		x := entry{d.Path(), d.Size, d.Vendor, d.Model, d.Serial, d.Bus, append([]string{}, d.Uses...), ""}
		if err := d.Refuse(size); err != nil {
			x.Refused = err.Error()
		}
		list = append(list, x)
	}
	if f.json {
		return writeJSON(e.stdout, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(e.stderr, "there is no removable disk: put a card in")
		return nil
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DEVICE\tSIZE\tMODEL\tBUS\tSERIAL\tREFUSED")
	for _, x := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", x.Device, mega(x.Bytes), strings.TrimSpace(x.Vendor+" "+x.Model), x.Bus, x.Serial, x.Refused)
	}
	return w.Flush()
}

// flash writes an image to a device or a file.
func (e *env) flash(ctx context.Context, root fs.FS, img *flash.Image, target string, f *flashFlags) error {
	var bar *progress
	step := ""
	show := func(what string, done, total int64) {
		if what != step {
			if bar != nil {
				bar.done()
			}
			bar, step = newProgress(e.stderr, what, total, true), what
		}
		bar.set(done, total)
	}
	st, err := os.Stat(target)
	isDevice := err == nil && st.Mode().Type()&(fs.ModeDevice|fs.ModeCharDevice) == fs.ModeDevice
	var rep *flash.Report
	if isDevice {
		var d flash.Device
		if d, err = flash.Find(root, target); err != nil {
			return err
		}
		if err := d.Refuse(img.Size()); err != nil {
			return err
		}
		if f.force {
			return errors.New("--force is for files; a device is confirmed by its name, or by --yes SERIAL")
		}
		if err := e.confirm(&d, f.serial); err != nil {
			return err
		}
		target = d.Path()
		rep, err = img.WriteDevice(ctx, root, &d, show)
	} else {
		if f.serial != "" {
			return fmt.Errorf("--yes is the serial number of a device, and %s is none", target)
		}
		rep, err = img.WriteFile(ctx, target, f.force, show)
	}
	if bar != nil {
		bar.done()
	}
	if errors.Is(err, context.Canceled) { // which alone would say less than what the card holds
		fmt.Fprintf(e.stderr, "bimamba: %v\n", err)
	}
	if err != nil {
		return err
	}
	return e.printFlash(img, target, rep, f)
}

// confirm has a person type the device's name, or a script know its serial number.
func (e *env) confirm(d *flash.Device, serial string) error {
	switch {
	case serial != "" && d.Serial == "":
		return fmt.Errorf("%s has no serial number that --yes could be compared with: call the command at a terminal, without --yes", d.Path())
	case serial != "" && serial != d.Serial:
		return fmt.Errorf("%s has the serial number %s, not %s: nothing was written", d.Path(), d.Serial, serial)
	case serial != "":
		return nil
	case !e.typed && d.Serial == "":
		return fmt.Errorf("there is no terminal to ask at, and %s has no serial number for --yes", d.Path())
	case !e.typed:
		return fmt.Errorf("there is no terminal to ask at: --yes %s writes to %s", d.Serial, d.Path())
	}
	fmt.Fprintf(e.stderr, "%v\nall that is on it will be lost; type %s to write to it: ", d, d.Name)
	line, err := bufio.NewReader(e.stdin).ReadString('\n')
	if err != nil && line == "" {
		return fmt.Errorf("%s was not confirmed: %w", d.Path(), err)
	}
	if name := strings.TrimSpace(line); name != d.Name {
		return fmt.Errorf("%q is not %s: nothing was written", name, d.Name)
	}
	return nil
}

func (e *env) printFlash(img *flash.Image, target string, rep *flash.Report, f *flashFlags) error {
	if f.json {
		return writeJSON(e.stdout, struct {
			Target  string  `json:"target"`
			Bytes   int64   `json:"bytes"`
			SHA256  string  `json:"sha256"`
			Bmap    string  `json:"bmap,omitempty"`
			Mapped  int64   `json:"mapped_bytes"`
			Written int64   `json:"written_bytes"`
			Write   float64 `json:"write_s"`
			Verify  float64 `json:"verify_s"`
			Reread  bool    `json:"partitions_reread"`
		}{target, rep.Size, rep.SHA256, img.Bmap, rep.Mapped, rep.Written, rep.Write.Seconds(), rep.Verify.Seconds(), rep.Reread})
	}
	fmt.Fprintf(e.stdout, "%s holds the image: %s, SHA-256 %s\n", target, mega(rep.Size), rep.SHA256)
	if img.Bmap != "" {
		fmt.Fprintf(e.stdout, "%s has %s of it in use\n", img.Bmap, mega(rep.Mapped))
	}
	if there := rep.Mapped - rep.Written; there > 0 {
		fmt.Fprintf(e.stdout, "%s were there already and compared\n", mega(there))
	}
	if rep.Written > 0 {
		fmt.Fprintf(e.stdout, "%s written in %s, read back in %s\n", mega(rep.Written), rep.Write.Round(100*time.Millisecond), rep.Verify.Round(100*time.Millisecond))
	}
	if !rep.Reread {
		fmt.Fprintln(e.stdout, "this system still knows the old partitions: take the card out before you look at it here")
	}
	return nil
}
