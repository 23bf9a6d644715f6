package man

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var page = Page{Name: "tool-cut", Section: 1, Date: "2026-01-02", Source: "tool 1.0", Manual: "Tools"}

func command() *cobra.Command {
	root := &cobra.Command{Use: "tool", Short: "Tools of all kinds"}
	c := &cobra.Command{
		Use: "cut FILE", Short: "Cut a file", Long: "Cut writes it's first half.\n.dots and 'quotes and back\\slashes stay - as they are.\n\n    as it is\n\nLast.",
		Example: "  tool cut a --at 3\n  tool cut b", Run: func(*cobra.Command, []string) {},
	}
	c.Flags().IntP("at", "a", 7, "cut at this `BYTE`")
	c.Flags().Bool("force", false, "replace it")
	c.Flags().String("secret", "", "not for people")
	c.Flags().MarkHidden("secret")
	root.AddCommand(c)
	return c
}

const commandPage = `.TH "TOOL\-CUT" 1 "2026\-01\-02" "tool 1.0" "Tools"
.nh
.ad l
.SH "NAME"
tool\-cut \- cut a file
.SH "SYNOPSIS"
\fBtool cut\fR FILE [\fIOPTION\fR]...
.SH "DESCRIPTION"
Cut writes it\(aqs first half.
\&.dots and \(aqquotes and back\eslashes stay \- as they are.
.PP
.nf
.RS 4
as it is
.RE
.fi
.PP
Last.
.SH "OPTIONS"
.TP
\fB\-a\fR, \fB\-\-at\fR \fIBYTE\fR
cut at this BYTE (default 7)
.TP
\fB\-\-force\fR
replace it
.SH "EXAMPLES"
.nf
.RS 4
tool cut a \-\-at 3
tool cut b
.RE
.fi
.SH "EXIT STATUS"
0 or 1.
.SH "SEE ALSO"
\fBtool\fR(1), \fBother\fR(8)
`

func TestCommand(t *testing.T) {
	if got := Command(command(), page, "0 or 1.", []string{"tool(1)", "other(8)"}); got != commandPage {
		t.Errorf("the page is\n%s", got)
	}
	root := Command(command().Root(), page, "0.", nil)
	if !strings.Contains(root, ".SH \"COMMANDS\"\n.TP\n\\fBcut FILE\\fR\nCut a file.\n") || !strings.Contains(root, `\fBtool\fR \fICOMMAND\fR [\fIOPTION\fR]...`) {
		t.Errorf("the root's page is\n%s", root)
	}
}

const help = `toold - serve tools

Usage:
  toold [OPTION]...
  toold check

It serves. Options are flags
and keys.

Second.

First group:
  --depth N *
        How deep. Default: 3.
  --page=false
        Serve the page, of
        two lines.

Other:
  -h, --help
        Print this.

Files:
  /etc/toold.toml
        The configuration.

Examples:
  toold --depth 4
`

func TestProgram(t *testing.T) {
	got, err := Program(help, Page{Section: 8, Date: "2026-01-02", Source: "tool 1.0", Manual: "Tools"}, "0.", []string{"tool(1)"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`.TH "TOOLD" 8 `, "toold \\- serve tools\n", "\\fBtoold\\fR [OPTION]...\n.br\n\\fBtoold\\fR check\n",
		"It serves. Options are flags\nand keys.\n.PP\nSecond.\n",
		".SS \"First group\"\n.TP\n\\fB\\-\\-depth\\fR \\fIN *\\fR\nHow deep. Default: 3.\n", "\\fB\\-\\-page\\fR\\fB=false\\fR\nServe the page, of two lines.\n",
		"\\fB\\-h, \\-\\-help\\fR\n", ".SH \"FILES\"\n.TP\n\\fI/etc/toold.toml\\fR\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, `.SS "Usage"`) {
		t.Error("the usage is a group of options")
	}
	for _, bad := range []string{"toold", "toold - a\n\n  lost\n"} {
		if _, err := Program(bad, Page{}, "", nil); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestConfig(t *testing.T) {
	got, err := Config(help, Page{Name: "toold.toml", Section: 5}, File{Summary: "configuration", Path: "/etc/toold.toml", Text: "Text.", NoKey: []string{"--depth"}, Example: []string{"page = true"}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, ".SS \"First group\"\n.TP\n\\fBpage\\fR = \\fItrue|false\\fR\nServe the page") || strings.Contains(got, "depth") || strings.Contains(got, "help") {
		t.Errorf("the page is\n%s", got)
	}
}

// TestGroff lets the program that shows pages complain of them.
func TestGroff(t *testing.T) {
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("groff is not here")
	}
	for _, text := range []string{commandPage, Command(command().Root(), page, "0.", nil)} {
		cmd := exec.Command("groff", "-man", "-Tutf8", "-Kutf8", "-ww", "-z")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("%v: %s", err, out)
		}
	}
}
