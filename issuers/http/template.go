package httpissuer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// maxRendered is the most that one template may write, in bytes.
const maxRendered = 64 << 10

// place is where a template's output goes. It decides how values are escaped.
type place string

const (
	inPath   place = "path"   // path or query of a URL
	inJSON   place = "json"   // inside or outside the quotes of a JSON text
	inForm   place = "form"   // a field of a urlencoded form
	verbatim place = "header" // as it is
)

// cursor is the type of .cursor, the one field that may be empty in a path.
type cursor string

// fields are what templates see: .params, .marker and so on.
type fields map[string]any

// A tmpl is one template of the configuration, checked and with an escaper
// behind every value that it inserts.
type tmpl struct {
	parsed  *template.Template
	roots   map[string]bool // fields that it uses
	params  map[string]bool // params that it uses
	secrets map[string]bool // secrets that it uses
}

// parseTemplate reads a template whose fields are among allowed and whose
// secrets are among declared. All mistakes are reported, none with a value.
func parseTemplate(text string, to place, allowed []string, declared map[string]bool) (*tmpl, error) {
	parsed, err := template.New("line").Option("missingkey=error").Funcs(functions(nil)).Parse(text)
	if err != nil {
		return nil, errors.New(strings.Replace(strings.TrimPrefix(err.Error(), "template: "), "line:", "line ", 1))
	}
	t := &tmpl{
		parsed: parsed, roots: map[string]bool{}, params: map[string]bool{}, secrets: map[string]bool{},
	}
	w := walker{tmpl: t, to: to, allowed: allowed, declared: declared}
	for _, inner := range parsed.Templates() {
		if inner != parsed {
			w.fail("define and block can't be used here")
			return t, errors.Join(w.mistakes...)
		}
	}
	w.list(parsed.Root)
	return t, errors.Join(w.mistakes...)
}

// functions are what templates can call. reveal reads a secret; nil while parsing.
func functions(reveal func(name string) (string, error)) template.FuncMap {
	return template.FuncMap{
		"secret":   reveal,
		"json":     encodeJSON,
		"urlpath":  escapePath,
		"query":    escapePath,
		"urlquery": escapePath,
		"index":    param,
		"print":    func(args ...any) (string, error) { return bounded(fmt.Sprint(args...)) },
		"println":  func(args ...any) (string, error) { return bounded(fmt.Sprintln(args...)) },
		"printf":   printf,
		// Appended by the walker: names that no template can spell by accident.
		"_path": escapePath,
		"_json": escapeJSON,
		"_form": escapeForm,
	}
}

// param replaces the built-in index, which answers "" for a key that isn't there.
func param(params map[string]string, key string) (string, error) {
	value, ok := params[key]
	if !ok {
		return "", fmt.Errorf("no param %q", key)
	}
	return value, nil
}

// printf replaces the built-in one, which pads to megabytes and doubles its
// argument at each stage of a pipe.
func printf(format string, args ...any) (string, error) {
	digits := 0
	for _, r := range format {
		if digits++; r < '0' || r > '9' {
			digits = 0
		}
		if r == '*' || r == '[' || digits > 3 {
			return "", errors.New("printf takes plain verbs here, with widths below 1000")
		}
	}
	return bounded(fmt.Sprintf(format, args...))
}

// bounded keeps a pipe of functions from growing a text at each stage.
func bounded(text string) (string, error) {
	if len(text) > maxRendered {
		return "", fmt.Errorf("makes more than %d bytes", maxRendered)
	}
	return text, nil
}

func encodeJSON(value any) (string, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", errors.New("can't be written as JSON")
	}
	return bounded(strings.TrimSuffix(out.String(), "\n"))
}

// escapePath makes a value safe in a path segment and in a query alike. An
// empty one is refused: DELETE /tokens/ is not DELETE /tokens/{id}.
func escapePath(value any) (string, error) {
	text, err := plain(value)
	if err != nil {
		return "", err
	}
	if _, ok := value.(cursor); text == "" && !ok {
		return "", errors.New("an empty value can't stand in a path")
	}
	return bounded(strings.ReplaceAll(url.QueryEscape(text), "+", "%20"))
}

// escapeJSON makes a value safe between the quotes of a JSON string. Outside of
// quotes only a number or a boolean stays valid.
func escapeJSON(value any) (string, error) {
	text, err := plain(value)
	if err != nil {
		return "", err
	}
	quoted, err := encodeJSON(text)
	return strings.TrimSuffix(strings.TrimPrefix(quoted, `"`), `"`), err
}

func escapeForm(value any) (string, error) {
	text, err := plain(value)
	return url.QueryEscape(text), err
}

// plain turns a value into text; maps and the like have none.
func plain(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case cursor:
		return string(v), nil
	case bool, int, float64:
		return fmt.Sprint(v), nil
	}
	return "", errors.New("only a single value can be inserted; use json for params as a whole")
}

// A walker looks through a template before it is ever executed. It allows
// text, fields, functions, pipes and if; without loops, variables and
// templates in templates, the work is bounded by the template's own length.
type walker struct {
	*tmpl
	to       place
	allowed  []string
	declared map[string]bool
	mistakes []error
}

func (w *walker) fail(format string, args ...any) {
	w.mistakes = append(w.mistakes, fmt.Errorf(format, args...))
}

// choice prints the fields that may be used.
func (w *walker) choice() string {
	if len(w.allowed) == 0 {
		return "none"
	}
	return "." + strings.Join(w.allowed, ", .")
}

func (w *walker) list(nodes *parse.ListNode) {
	if nodes == nil {
		return
	}
	for _, node := range nodes.Nodes {
		switch n := node.(type) {
		case *parse.TextNode, *parse.CommentNode:
		case *parse.ActionNode:
			w.pipe(n.Pipe)
			w.escape(n.Pipe)
		case *parse.IfNode:
			w.pipe(n.Pipe)
			w.list(n.List)
			w.list(n.ElseList)
		default:
			w.fail("range, with, define, block and template can't be used here")
		}
	}
}

func (w *walker) pipe(pipe *parse.PipeNode) {
	if pipe == nil {
		return
	}
	if len(pipe.Decl) > 0 {
		w.fail("variables can't be used here")
	}
	for _, command := range pipe.Cmds {
		w.command(command)
	}
}

func (w *walker) command(command *parse.CommandNode) {
	if called, ok := command.Args[0].(*parse.IdentifierNode); ok {
		switch called.Ident {
		case "secret":
			w.secret(command)
			return
		case "index":
			w.index(command)
		case "js", "html", "call":
			w.fail("function %q can't be used here", called.Ident)
		}
	}
	for _, arg := range command.Args {
		switch a := arg.(type) {
		case *parse.FieldNode:
			w.field(a.Ident)
		case *parse.PipeNode:
			w.pipe(a)
		case *parse.IdentifierNode, *parse.StringNode, *parse.NumberNode, *parse.BoolNode:
		default:
			w.fail("%q can't be used here; fields are %s", arg.String(), w.choice())
		}
	}
}

func (w *walker) secret(command *parse.CommandNode) {
	var name *parse.StringNode
	if len(command.Args) == 2 {
		name, _ = command.Args[1].(*parse.StringNode)
	}
	switch {
	case name == nil:
		w.fail("secret takes one name in quotes, such as {{ secret `admin` }}")
	case !w.declared[name.Text]:
		w.fail("no secret %q; secrets has %s", name.Text, nameList(w.declared))
	default:
		w.secrets[name.Text] = true
	}
}

// index notes `index .params "some-key"`, for keys that a field can't spell.
func (w *walker) index(command *parse.CommandNode) {
	if len(command.Args) == 3 {
		of, isField := command.Args[1].(*parse.FieldNode)
		key, isText := command.Args[2].(*parse.StringNode)
		if isField && isText && len(of.Ident) == 1 && of.Ident[0] == "params" {
			w.params[key.Text] = true
			return
		}
	}
	w.fail("index takes .params and one name in quotes, such as {{ index .params `my-key` }}")
}

func (w *walker) field(path []string) {
	root := path[0]
	switch {
	case !slices.Contains(w.allowed, root):
		w.fail("no field %q here; there are %s", "."+strings.Join(path, "."), w.choice())
	case root == "params" && len(path) == 2:
		w.params[path[1]] = true
	case len(path) > 1:
		w.fail("field %q goes too deep", "."+strings.Join(path, "."))
	}
	w.roots[root] = true
}

// escape puts the escaper of the place behind a value, unless the template
// already ends in a function that leaves it safe.
func (w *walker) escape(pipe *parse.PipeNode) {
	if pipe == nil || len(pipe.Cmds) == 0 {
		return
	}
	last, _ := pipe.Cmds[len(pipe.Cmds)-1].Args[0].(*parse.IdentifierNode)
	var name string
	switch w.to {
	case inPath:
		name = "_path"
		if last != nil && slices.Contains([]string{"urlpath", "query", "urlquery"}, last.Ident) {
			return
		}
	case inJSON:
		name = "_json"
		if last != nil && last.Ident == "json" {
			return
		}
	case inForm:
		name = "_form"
		if last != nil && last.Ident == "query" {
			return
		}
	case verbatim:
		return
	}
	pipe.Cmds = append(pipe.Cmds, &parse.CommandNode{
		NodeType: parse.NodeCommand, Pos: pipe.Pos,
		Args: []parse.Node{parse.NewIdentifier(name).SetTree(w.parsed.Tree).SetPos(pipe.Pos)},
	})
}

// checkParams reports the params that are used, even in a branch not taken, and missing.
func (t *tmpl) checkParams(params map[string]string) error {
	var missing []error
	for _, name := range slices.Sorted(maps.Keys(t.params)) {
		if _, ok := params[name]; !ok {
			missing = append(missing, fmt.Errorf("no param %q; the token has %s", name, nameList(params)))
		}
	}
	return errors.Join(missing...)
}

// render executes the template. Errors name functions and fields, never values.
func (t *tmpl) render(f fields, reveal func(string) (string, error)) (string, error) {
	bound, err := t.parsed.Clone()
	if err != nil {
		return "", errors.New("can't be executed")
	}
	out := limited{left: maxRendered}
	err = bound.Funcs(functions(reveal)).Execute(&out, map[string]any(f))
	switch {
	case out.full:
		return "", fmt.Errorf("writes more than %d bytes", maxRendered)
	case err != nil:
		return "", execError(err)
	}
	return out.String(), nil
}

// execError keeps the cause that our own functions gave and nothing else: what
// the template package says may quote arguments.
func execError(err error) error {
	var exec template.ExecError
	if !errors.As(err, &exec) {
		return errors.New("can't be executed")
	}
	if cause := errors.Unwrap(exec.Err); cause != nil {
		return cause
	}
	if _, after, ok := strings.Cut(exec.Err.Error(), "map has no entry for key "); ok {
		return fmt.Errorf("no param %s", after)
	}
	return errors.New("can't be executed on these values; a function was given what it doesn't take")
}

// limited is a buffer that refuses more than left bytes.
type limited struct {
	bytes.Buffer
	left int
	full bool
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		l.full = true
		return 0, errors.New("full")
	}
	return l.Buffer.Write(p)
}

// nameList prints the keys of a map for an error message.
func nameList[V any](of map[string]V) string {
	if len(of) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(of)), ", ")
}
