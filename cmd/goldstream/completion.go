package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

const bashCompletion = `# bash completion for goldstream: source <(goldstream completion bash)
_goldstream() {
  local cur=${COMP_WORDS[COMP_CWORD]} word
  local -a typed=("${COMP_WORDS[@]:0:COMP_CWORD}") words
  typed=("${typed[@]//\\/}") cur=${cur//\\/} # spaces in names are typed behind a backslash
  # Not the word itself: a bare -- would end the flags.
  [[ $cur == -* ]] && typed+=(-)
  mapfile -t words < <("${typed[@]}" --generate-bash-completion 2>/dev/null)
  COMPREPLY=()
  for word in "${words[@]}"; do
    [[ $word == "$cur"* ]] && COMPREPLY+=("$(printf %q "$word")")
  done
}
complete -o bashdefault -o default -F _goldstream goldstream
`

const zshCompletion = `#compdef goldstream
# zsh completion for goldstream: source <(goldstream completion zsh)
_goldstream() {
  local -a words_found
  local cur=${words[-1]}
  if [[ $cur == -* ]]; then
    words_found=("${(@f)$(${words[@]:0:#words[@]-1} - --generate-bash-completion 2>/dev/null)}")
  else
    words_found=("${(@f)$(${words[@]:0:#words[@]-1} --generate-bash-completion 2>/dev/null)}")
  fi
  if [[ -n ${words_found[1]} ]]; then
    compadd -a words_found
  else
    _files
  fi
}
compdef _goldstream goldstream
`

func completionCommand() *cli.Command {
	return verb{
		name: "completion", args: "SHELL", usage: "print the completion script for bash or zsh",
		examples: []string{
			"source <(goldstream completion bash)",
			"goldstream completion zsh > \"${fpath[1]}/_goldstream\"",
		},
		action:   printCompletion,
		complete: names{func(*call) []string { return []string{"bash", "zsh"} }},
	}.command()
}

func printCompletion(c *call) error {
	script := map[string]string{"bash": bashCompletion, "zsh": zshCompletion}[c.arg(0)]
	if script == "" {
		return usagef("completion: there are scripts for bash and zsh, not for %q", c.arg(0))
	}
	return c.print(map[string]string{"shell": c.arg(0), "script": script}, func(w io.Writer) {
		fmt.Fprint(c.out, script) // not w, which would align its tabs
	})
}

// names are completions for the first argument of a verb, the second and so on.
type names []func(*call) []string

// completer answers the shell: flags after a dash, else names of what the verb
// works on, else nothing (the shell offers files).
func (v verb) completer() cli.BashCompleteFunc {
	return func(c *cli.Context) {
		last := lastWord(c)
		if values := flagValues()[strings.TrimLeft(last, "-")]; values != nil && strings.HasPrefix(last, "-") {
			_ = runCall(c, func(call *call) error {
				for _, value := range values(call) {
					fmt.Fprintln(c.App.Writer, value)
				}
				return nil
			})
			return
		}
		if strings.HasPrefix(last, "-") {
			for _, f := range c.Command.Flags {
				fmt.Fprintln(c.App.Writer, "--"+f.Names()[0])
			}
			return
		}
		if c.NArg() >= len(v.complete) {
			return
		}
		_ = runCall(c, func(call *call) error {
			for _, name := range v.complete[c.NArg()](call) {
				fmt.Fprintln(c.App.Writer, name)
			}
			return nil
		})
	}
}

// flagValues are the completions for values of flags, by the flag's name.
func flagValues() map[string]func(*call) []string {
	choice := func(values ...string) func(*call) []string { return func(*call) []string { return values } }
	return map[string]func(*call) []string{
		"image": imageNames, "volume": volumeNames,
		"format": choice("raw", "zstd"), "log-format": choice("text", "json"), "log-level": choice("debug", "info", "warn", "error"),
	}
}

// completeCommands offers what may come next below the program or a noun,
// without the abbreviations.
func completeCommands(c *cli.Context, commands []*cli.Command) {
	if strings.HasPrefix(lastWord(c), "-") {
		for _, f := range commonFlags() {
			fmt.Fprintln(c.App.Writer, "--"+f.Names()[0])
		}
		return
	}
	for _, command := range commands {
		if !command.Hidden {
			fmt.Fprintln(c.App.Writer, command.Name)
		}
	}
}

// lastWord is the word under the cursor. The parsed arguments lack it where it
// is the beginning of a flag.
func lastWord(c *cli.Context) string {
	words, _ := c.App.Metadata[metaWords].([]string)
	if len(words) < 2 {
		return ""
	}
	return words[len(words)-2] // the last one is the completion's own flag
}
