package filestore

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/rotatord/rotatord/rotator"
)

// Readers of .env files differ. What is written here is what a POSIX shell,
// systemd's EnvironmentFile and the dotenv libraries read alike:
//   - a value of letters, digits and _./:@%+=,- stands as it is (or in the
//     quotes that the variable had before): every reader, `docker run
//     --env-file` included, which takes quotes literally;
//   - any other value stands in single quotes, in which nothing is special
//     (but python-dotenv expands ${NAME} even there);
//   - a value with a single quote stands in double quotes, with a backslash
//     before \ " $ and `: read by shells, systemd and Docker Compose; node's and
//     python's dotenv keep some of those backslashes.
// What they read differently is refused when it is the value asked for, and
// left alone elsewhere.

const bom = "\ufeff"

// A variable is one assignment in a file.
type variable struct {
	start, end int  // of the value in the content, quotes included
	quote      byte // ' or ", or 0
	odd        bool // something follows the closing quote
}

func getEnv(content []byte, name string) (string, bool, error) {
	found, err := findEnv(string(content), name)
	if err != nil || found == nil {
		return "", false, err
	}
	value, err := found.value(string(content))
	if err != nil {
		return "", false, rotator.Permanent(fmt.Errorf("read variable %q: %w", name, err))
	}
	return value, true, nil
}

func setEnv(content []byte, name, value string) ([]byte, error) {
	found, err := findEnv(string(content), name)
	if err != nil {
		return nil, err
	}
	if !utf8.ValidString(value) || strings.ContainsFunc(value, isControl) {
		return nil, rotator.Permanent(fmt.Errorf("write variable %q: a .env file can't hold the value's control characters", name))
	}
	changed := appendEnv(content, name+"="+quoteEnv(value, 0))
	if found != nil {
		text := quoteEnv(value, found.quote)
		if bytes.HasPrefix(content[found.end:], []byte("#")) {
			text += " " // the comment of a value that was empty
		}
		changed = join(content[:found.start], []byte(text), content[found.end:])
	}
	// A quote that somebody did not close would swallow ours.
	if got, _, err := getEnv(changed, name); err != nil || got != value {
		return nil, rotator.Permanent(fmt.Errorf("write variable %q: a quote in the file is not closed", name))
	}
	return changed, nil
}

// appendEnv adds a line, with the line ends that the file has.
func appendEnv(content []byte, line string) []byte {
	newline := "\n"
	if bytes.Contains(content, []byte("\r\n")) {
		newline = "\r\n"
	}
	if len(content) > 0 && !bytes.HasSuffix(content, []byte("\n")) {
		line = newline + line
	}
	return join(content, []byte(line+newline))
}

func isControl(r rune) bool { return (r < ' ' && r != '\n' && r != '\t') || r == 0x7f }

// quoteEnv writes a value, in the old style where that can carry it.
func quoteEnv(value string, old byte) string {
	plain := !strings.ContainsFunc(value, func(r rune) bool {
		return !isNameRune(r) && !strings.ContainsRune("./:@%+=,-", r)
	})
	switch {
	case plain && old == 0:
		return value
	case old == '"' && !strings.ContainsAny(value, "\\\"$`"):
		return `"` + value + `"`
	case !strings.Contains(value, "'"):
		return "'" + value + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(value) + `"`
}

// findEnv returns the one assignment to a name, or nil.
func findEnv(content, name string) (*variable, error) {
	var found *variable
	at := 0
	if strings.HasPrefix(content, bom) {
		at = len(bom)
	}
	for at < len(content) {
		this, v, next := parseLine(content, at)
		at = next
		if this != name {
			continue
		}
		if found != nil {
			return nil, rotator.Permanent(fmt.Errorf("read variable %q: the file sets it more than once", name))
		}
		found = &v
	}
	return found, nil
}

// parseLine reads one line, or the several lines of a quoted value, that begins
// at an offset. The name is empty when it assigns nothing.
func parseLine(content string, at int) (name string, v variable, next int) {
	end := lineEnd(content, at)
	next = min(end+1, len(content))
	left, _, assigns := strings.Cut(content[at:end], "=")
	name = strings.TrimSpace(left)
	if rest, ok := strings.CutPrefix(name, "export"); ok && rest != strings.TrimLeft(rest, " \t") {
		name = strings.TrimLeft(rest, " \t")
	}
	if !assigns || !isName(name) {
		return "", variable{}, next
	}
	v.start = at + len(left) + 1
	blanks := len(content[v.start:end]) - len(strings.TrimLeft(content[v.start:end], " \t"))
	v.start += blanks
	if v.start < end && (content[v.start] == '\'' || content[v.start] == '"') {
		if closing := closingQuote(content, v.start); closing > 0 {
			v.quote, v.end = content[v.start], closing+1
			end = lineEnd(content, v.end)
			after := strings.TrimRight(content[v.end:end], "\r")
			trimmed := strings.TrimLeft(after, " \t")
			v.odd = trimmed != "" && (trimmed[0] != '#' || trimmed == after)
			return name, v, min(end+1, len(content))
		}
	}
	bare := content[v.start:end]
	if blanks > 0 && strings.HasPrefix(bare, "#") {
		bare = ""
	}
	for i := 1; i < len(bare); i++ {
		if bare[i] == '#' && (bare[i-1] == ' ' || bare[i-1] == '\t') {
			bare = bare[:i]
		}
	}
	v.end = v.start + len(strings.TrimRight(bare, " \t\r"))
	return name, v, next
}

func lineEnd(content string, at int) int {
	if i := strings.IndexByte(content[at:], '\n'); i >= 0 {
		return at + i
	}
	return len(content)
}

// closingQuote returns the offset of the quote that ends the one at open, or -1.
func closingQuote(content string, open int) int {
	for i := open + 1; i < len(content); i++ {
		switch {
		case content[i] == content[open]:
			return i
		case content[i] == '\\' && content[open] == '"':
			i++
		}
	}
	return -1
}

// value returns what all readers read, or refuses.
func (v variable) value(content string) (string, error) {
	text := content[v.start:v.end]
	switch {
	case v.odd:
		return "", errors.New("something follows the closing quote")
	case v.quote == '\'':
		return text[1 : len(text)-1], nil
	case v.quote == 0 && strings.ContainsAny(text, "\\$#`\"'"):
		return "", errors.New("an unquoted value with one of \\ $ # ` \" ' is read differently by different programs; put it into single quotes")
	case v.quote == 0:
		return text, nil
	}
	var value strings.Builder
	text = text[1 : len(text)-1]
	for i := 0; i < len(text); i++ {
		switch char := text[i]; {
		case char == '\\' && i+1 < len(text) && strings.IndexByte("\\\"$`", text[i+1]) >= 0:
			i++
			value.WriteByte(text[i])
		case char == '\\', char == '$', char == '`':
			return "", fmt.Errorf("a %c in double quotes is read differently by different programs; put the value into single quotes", char)
		default:
			value.WriteByte(char)
		}
	}
	return value.String(), nil
}

func isName(name string) bool {
	return name != "" && (name[0] < '0' || name[0] > '9') &&
		!strings.ContainsFunc(name, func(r rune) bool { return !isNameRune(r) })
}

func isNameRune(r rune) bool {
	return r == '_' || (r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
}
