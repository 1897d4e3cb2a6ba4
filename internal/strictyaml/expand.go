package strictyaml

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v4"
)

const (
	maxDepth    = 64
	maxExpanded = 1_000_000 // nodes, each alias counted as what it stands for
)

// expander replaces aliases by what they stand for and merge keys by the keys
// that they bring, and finds what no Go type needs to be known for: repeated
// keys, keys that are not text, tags.
type expander struct {
	size     map[*yaml.Node]int // expanded; 0 while the node is open
	mistakes []Mistake
	tooLarge bool
}

func (x *expander) mistake(p Place, format string, args ...any) {
	line, column := p.position()
	x.mistakes = append(x.mistakes, Mistake{Line: line, Column: column, Path: p.Path, Text: fmt.Sprintf(format, args...)})
}

func (x *expander) expand(p Place, depth int) int {
	node := p.Node
	if size, ok := x.size[node]; ok {
		return size
	}
	x.size[node] = 0
	size := 1
	x.checkTag(p)
	switch {
	case depth > maxDepth:
		x.mistake(p, "nested more than %d levels deep", maxDepth)
		node.Content = nil
	case node.Kind == yaml.MappingNode:
		size += x.mapping(p, depth)
	case node.Kind == yaml.SequenceNode:
		for i, item := range p.Items() {
			node.Content[i] = x.resolve(item)
			item.Node = node.Content[i]
			size += x.expand(item, depth+1)
		}
	}
	if size > maxExpanded {
		if !x.tooLarge {
			x.mistake(p, "aliases make the document too large")
		}
		x.tooLarge, node.Content, size = true, nil, 1
	}
	x.size[node] = size
	return size
}

// resolve returns what an alias stands for. An alias inside its own anchor
// becomes null.
func (x *expander) resolve(p Place) *yaml.Node {
	if p.Node.Kind != yaml.AliasNode {
		return p.Node
	}
	target := p.Node.Alias
	if size, ok := x.size[target]; target == nil || ok && size == 0 {
		x.mistake(p, "the alias stands for something that holds the alias itself")
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: p.Node.Line, Column: p.Node.Column}
	}
	return target
}

func (x *expander) mapping(p Place, depth int) int {
	size := 0
	first := map[string]int{}
	var kept, merged []*yaml.Node
	for _, entry := range p.Entries() {
		key := entry.Key
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null" {
			x.mistake(Place{Path: p.Path, Node: key}, "a key must be a text")
			continue
		}
		entry.Node = x.resolve(entry)
		size += 1 + x.expand(entry, depth+1)
		if key.ShortTag() == "!!merge" {
			merged = append(merged, x.merge(entry)...)
			continue
		}
		if line, ok := first[key.Value]; ok {
			x.mistake(Place{Path: entry.Path, Node: key}, "given twice; first at line %d", line)
			continue
		}
		first[key.Value] = key.Line
		kept = append(kept, key, entry.Node)
	}
	for pair := range slices.Chunk(merged, 2) {
		if _, ok := first[pair[0].Value]; !ok {
			first[pair[0].Value] = pair[0].Line
			kept = append(kept, pair...)
		}
	}
	p.Node.Content = kept
	return size
}

// merge returns the keys that a merge key (<<) brings, the strongest first.
func (x *expander) merge(p Place) []*yaml.Node {
	sources := []Place{p}
	if p.Node.Kind == yaml.SequenceNode {
		sources = p.Items()
	}
	var pairs []*yaml.Node
	for _, source := range sources {
		if source.Node.Kind != yaml.MappingNode {
			x.mistake(source, "a merge key (<<) takes an alias of a mapping, or a list of them")
			continue
		}
		pairs = append(pairs, source.Node.Content...)
	}
	return pairs
}

func (x *expander) checkTag(p Place) {
	if p.Node.Style&yaml.TaggedStyle == 0 {
		return
	}
	switch p.Node.ShortTag() {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq":
	default:
		x.mistake(p, "this tag is not supported; remove it")
	}
}
