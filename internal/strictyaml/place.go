// Package strictyaml decodes a YAML document into Go types and reports every
// mistake with its line, column and path: unknown, missing and repeated keys,
// wrong types, values outside a list, and what TextUnmarshalers refuse.
//
// It never prints a value of the document, because somebody may have pasted a
// secret into the wrong place: messages hold keys, names and short words only
// (see Showable). It never guesses either: yes and no are no booleans, a quoted
// number is no number, a section without content is a mistake.
//
// To support another kind of Go field, add it to Decoder.decode and to the JSON
// Schema in internal/config.
package strictyaml

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A Mistake is one thing that is wrong in a document.
type Mistake struct {
	Line, Column int    // from 1; 0: the document as a whole
	Path         string // like tokens.crm-sync.stores[0].store; empty at the top
	Text         string // one line without values
}

// String is "LINE:COLUMN: PATH: TEXT", without the parts that are not known.
func (m Mistake) String() string {
	var b strings.Builder
	if m.Line > 0 {
		b.WriteString(strconv.Itoa(m.Line) + ":" + strconv.Itoa(m.Column) + ": ")
	}
	if m.Path != "" {
		b.WriteString(m.Path + ": ")
	}
	b.WriteString(m.Text)
	return b.String()
}

// A Place is a value in a document with the way that leads to it.
type Place struct {
	Path string
	Node *yaml.Node
	Key  *yaml.Node // of the mapping entry that holds Node; nil in lists and at the top
}

// position is where a reader looks first: at a scalar itself, and at the key
// of everything that begins on a later line.
func (p Place) position() (line, column int) {
	node := p.Node
	if p.Key != nil && (node == nil || node.Kind != yaml.ScalarNode || isNull(node)) {
		node = p.Key
	}
	if node == nil {
		return 0, 0
	}
	return max(node.Line, 1), max(node.Column, 1)
}

// Line returns the line that a mistake at this place is reported at.
func (p Place) Line() int {
	line, _ := p.position()
	return line
}

// Below returns the path of a key below the place.
func (p Place) Below(key string) string {
	if key != "<<" && !nameLike(key) && !Showable(key) {
		key = "?"
	}
	if p.Path == "" {
		return key
	}
	return p.Path + "." + key
}

// At follows keys (string) and list indexes (int) as far as they exist. The
// answer has the whole path, and the node of the last step that exists.
func (p Place) At(steps ...any) Place {
	for _, step := range steps {
		next := Place{Node: p.Node, Key: p.Key}
		switch step := step.(type) {
		case string:
			next.Path = p.Below(step)
			if found, ok := p.Get(step); ok {
				next = found
			}
		case int:
			next.Path = p.Path + "[" + strconv.Itoa(step) + "]"
			if items := p.Items(); step < len(items) {
				next = items[step]
			}
		}
		p = next
	}
	return p
}

// Get returns the value of a key of a mapping.
func (p Place) Get(key string) (Place, bool) {
	for _, entry := range p.Entries() {
		if entry.Key.Value == key {
			return entry, true
		}
	}
	return Place{}, false
}

// Entries returns the values of a mapping in the order of the document.
func (p Place) Entries() []Place {
	if p.Node == nil || p.Node.Kind != yaml.MappingNode {
		return nil
	}
	found := make([]Place, 0, len(p.Node.Content)/2)
	for pair := range slices.Chunk(p.Node.Content, 2) {
		found = append(found, Place{Path: p.Below(pair[0].Value), Key: pair[0], Node: pair[1]})
	}
	return found
}

// Items returns the values of a list.
func (p Place) Items() []Place {
	if p.Node == nil || p.Node.Kind != yaml.SequenceNode {
		return nil
	}
	found := make([]Place, 0, len(p.Node.Content))
	for i, node := range p.Node.Content {
		found = append(found, Place{Path: p.Path + "[" + strconv.Itoa(i) + "]", Node: node})
	}
	return found
}

// Find follows a path like create.path or command[0] as far as it exists. The
// answer has the whole path, and the node of the last part that was found.
func (p Place) Find(path string) Place {
	rest := strings.TrimPrefix(path, ".")
	if rest == "" {
		return p
	}
	for i, item := range p.Items() {
		for _, form := range []string{"[" + strconv.Itoa(i) + "]", strconv.Itoa(i)} {
			if tail, ok := cutStep(rest, form); ok {
				return item.Find(tail)
			}
		}
	}
	entries := p.Entries() // a key may hold dots itself: the longest one that fits
	slices.SortStableFunc(entries, func(a, b Place) int { return len(b.Key.Value) - len(a.Key.Value) })
	for _, entry := range entries {
		if tail, ok := cutStep(rest, entry.Key.Value); ok {
			return entry.Find(tail)
		}
	}
	missing := Place{Path: p.Path, Node: p.Node, Key: p.Key}
	for step := range strings.SplitSeq(rest, ".") {
		missing.Path = missing.Below(step)
	}
	return missing
}

func cutStep(path, step string) (string, bool) {
	tail, ok := strings.CutPrefix(path, step)
	if !ok || tail != "" && tail[0] != '.' && tail[0] != '[' {
		return "", false
	}
	return tail, true
}

// IsNull tells whether there is a value at all.
func (p Place) IsNull() bool { return p.Node == nil || isNull(p.Node) }

func isNull(node *yaml.Node) bool {
	return node.Kind == 0 || node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}
