package strictyaml

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

const hidden = "[not shown]"

var (
	// Words of letters with at most three digits behind them. What services
	// generate as secrets mixes cases and digits, or is longer.
	plainWords = regexp.MustCompile(`^(?:[a-z]{1,20}|[A-Z]{1,20}|[A-Z]?[a-z]{1,15}(?:[A-Z][a-z]{1,15}){0,3})?[0-9]{0,3}` +
		`(?:[-_./:#@]{1,3}(?:[a-z]{1,20}|[A-Z]{1,20}|[A-Z]?[a-z]{1,15}(?:[A-Z][a-z]{1,15}){0,3})?[0-9]{0,3})*$`)
	regexpShout = regexp.MustCompile(`^[A-Z0-9_]+$`)
	name        = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
)

// maxShown is the longest text that a message repeats, in bytes.
const maxShown = 48

// Showable tells whether a text of the document may stand in a message: a key,
// a name, a path or a short word that can't be a generated secret.
func Showable(text string) bool {
	return text != "" && len(text) <= maxShown && plainWords.MatchString(text)
}

// ValidName tells whether a text is a name that people may give to an entry.
func ValidName(text string) bool { return name.MatchString(text) }

// nameLike is a name that may stand in a path: people choose names, but a
// pasted token of one long run of letters and digits is not one.
func nameLike(text string) bool {
	if !ValidName(text) {
		return false
	}
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune("._-", r) }) {
		if len(part) > 20 {
			return false
		}
	}
	return true
}

// Quote returns the text in quotes with a space before it, or nothing if it may not be shown.
func Quote(text string) string {
	if Showable(text) {
		return " " + strconv.Quote(text)
	}
	return ""
}

// Scrub takes every text of the node that may not be shown out of a message.
func Scrub(message string, node *yaml.Node) string {
	var texts []string
	collect(node, &texts)
	slices.SortFunc(texts, func(a, b string) int { return len(b) - len(a) })
	for _, text := range texts {
		for _, form := range []string{text, strings.Trim(strconv.Quote(text), `"`)} {
			message = strings.ReplaceAll(message, form, hidden)
		}
	}
	var b strings.Builder
	for _, word := range splitWords(message) {
		core := strings.Trim(word, "./-_!")
		if len(core) >= 6 && !Showable(core) && slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(text, core) }) {
			word = hidden
		}
		b.WriteString(word)
	}
	return strings.Join(strings.Fields(b.String()), " ") // one line
}

// collect gathers the texts that may not be shown. Shorter ones are no secrets,
// and taking them out would garble the message.
func collect(node *yaml.Node, texts *[]string) {
	if node == nil {
		return
	}
	if node.Kind == yaml.ScalarNode && len(node.Value) >= 4 && !Showable(node.Value) {
		*texts = append(*texts, node.Value)
	}
	for _, child := range node.Content {
		collect(child, texts)
	}
}

// splitWords cuts a message at spaces, quotes, brackets and the like, which stay words of their own.
func splitWords(message string) []string {
	var words []string
	start := 0
	for i, r := range message {
		if strings.ContainsRune(" \t\r\n\"'`()[]{}<>,;:=|&?#@", r) {
			words = append(words, message[start:i], string(r))
			start = i + len(string(r))
		}
	}
	return append(words, message[start:])
}

// Suggest returns the candidate that is a typing mistake away from text, or
// that one of the two begins with, or "".
func Suggest(text string, candidates []string) string {
	best, bestDistance := "", 3
	for _, candidate := range candidates {
		a, b := fold(text), fold(candidate)
		distance := editDistance(a, b)
		if min(len(a), len(b)) >= 3 && len(a) <= 2*len(b)+3 && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
			distance = min(distance, 1)
		}
		if distance < bestDistance && distance*3 <= max(len(candidate), 3) {
			best, bestDistance = candidate, distance
		}
	}
	return best
}

// secretLikeVariable and secretLikeFile tell whether what is given as an environment variable or a file
// may be the secret itself.
func secretLikeVariable(text string) bool {
	shout := regexpShout.MatchString(text) && (len(text) <= 16 || strings.Contains(text, "_"))
	return !shout && !Showable(text)
}

func secretLikeFile(text string) bool {
	return !strings.ContainsAny(text, `/\`) && !Showable(text)
}

// DidYouMean returns the end of a message about an unknown text.
func DidYouMean(text string, candidates []string) string {
	if near := Suggest(text, candidates); Showable(near) {
		return "; did you mean " + strconv.Quote(near) + "?"
	}
	return ""
}

func fold(text string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(text))
}

// editDistance counts the letters to insert, delete, replace or swap. Texts
// that are too long to be a typing mistake are far away.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	before, last := []int(nil), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
