package httpissuer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/rotatord/rotatord/internal/webclient"
)

const (
	maxCost    = 1_000_000 // of one evaluation, in CEL's units: well below a second
	checkEvery = 100       // comprehension steps between looks at the context
	maxText    = 64 << 10  // bytes of an ID or a value
	maxShown   = 80        // bytes of an expression that an error shows
)

// kind is what an expression must yield.
type kind string

const (
	aBool  kind = "a boolean"
	anID   kind = "a string or a whole number"
	aText  kind = "a string"
	aTime  kind = "an RFC 3339 time or Unix seconds"
	aList  kind = "a list"
	scopes kind = "a list of strings"
)

// accepts lists the CEL types of each kind; null stands for "not there" where
// that is allowed, which only the evaluation can tell.
func (k kind) accepts(t *cel.Type) bool {
	allowed := map[kind][]types.Kind{
		aBool:  {types.BoolKind},
		anID:   {types.StringKind, types.IntKind, types.UintKind, types.NullTypeKind},
		aText:  {types.StringKind, types.NullTypeKind},
		aTime:  {types.StringKind, types.IntKind, types.UintKind, types.DoubleKind, types.TimestampKind, types.NullTypeKind},
		aList:  {types.ListKind},
		scopes: {types.ListKind, types.StringKind, types.NullTypeKind},
	}[k]
	// Opaque: an optional, as body.?next is.
	return slices.Contains(append(allowed, types.DynKind, types.AnyKind, types.OpaqueKind), t.Kind())
}

// An expr is one CEL expression of the configuration, compiled.
type expr struct {
	path    string // of the field, for errors: "create.value"
	text    string
	program cel.Program
}

// newEnv declares what expressions see of an answer: body, status and header,
// and in a list item (one credential) and cursor (of the page).
func newEnv() (*cel.Env, error) {
	return cel.NewEnv(
		cel.OptionalTypes(),
		cel.ParserExpressionSizeLimit(8<<10),
		cel.Variable("body", cel.DynType),
		cel.Variable("status", cel.IntType),
		cel.Variable("header", cel.MapType(cel.StringType, cel.StringType)),
	)
}

// compileExpr compiles an expression that must yield want.
func compileExpr(env *cel.Env, path, text string, want kind) (*expr, error) {
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		var all []error
		for _, issue := range issues.Errors() {
			all = append(all, fmt.Errorf("column %d: %s", issue.Location.Column()+1, explain(env, issue.Message)))
		}
		return nil, errors.Join(all...)
	}
	if !want.accepts(ast.OutputType()) {
		return nil, fmt.Errorf("yields %s; must be %s", ast.OutputType(), want)
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.InterruptCheckFrequency(checkEvery))
	if err != nil {
		return nil, errors.New("is no expression that can be evaluated")
	}
	return &expr{path: path, text: text, program: program}, nil
}

// explain shortens what the CEL compiler says, and names what there is.
func explain(env *cel.Env, message string) string {
	message, _, _ = strings.Cut(message, " expecting {")
	message = strings.TrimSuffix(message, " (in container '')")
	if strings.HasPrefix(message, "undeclared reference") {
		var names []string
		for _, variable := range env.Variables() {
			if !strings.Contains(variable.Name(), "_") && variable.Type().Kind() != types.TypeKind {
				names = append(names, variable.Name())
			}
		}
		message += "; there are " + strings.Join(names, ", ")
	}
	return strings.ToLower(message[:1]) + message[1:]
}

// variables are what an answer offers to expressions. A body that is no JSON
// is an error only for the expression that needs it.
func variables(a webclient.Answer) map[string]any {
	header := make(map[string]string, len(a.Header))
	for name, values := range a.Header {
		header[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	body, err := parseBody(a.Body)
	vars := map[string]any{"status": a.Status, "header": header, "body": body}
	if err != nil {
		vars["body"] = types.NewErr("%s", notJSON)
	}
	return vars
}

const notJSON = "the answer is not JSON"

// parseBody reads JSON without rounding a number.
func parseBody(raw []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var body any
	if err := decoder.Decode(&body); err != nil {
		return nil, errors.New(notJSON)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New(notJSON)
	}
	return exact(body), nil
}

// exact turns whole numbers into 64-bit integers, those that are longer into
// their digits, and the others into floating point.
func exact(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = exact(v[key])
		}
	case []any:
		for i := range v {
			v[i] = exact(v[i])
		}
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		if !strings.ContainsAny(v.String(), ".eE") {
			return v.String()
		}
		n, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return n
	}
	return value
}

// eval evaluates and unpacks an optional; nil stands for null.
func (e *expr) eval(ctx context.Context, vars map[string]any) (ref.Val, error) {
	out, _, err := e.program.ContextEval(ctx, vars)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, e.fail(e.cause(err))
	}
	if optional, ok := out.(*types.Optional); ok {
		if !optional.HasValue() {
			return nil, nil
		}
		out = optional.GetValue()
	}
	if out == nil || out.Type() == types.NullType {
		return nil, nil
	}
	return out, nil
}

// errMissing marks the error of a key that the answer doesn't have.
var errMissing = errors.New("no such key")

// cause sorts CEL's errors. Their texts may quote the answer, so none is kept,
// but for a key that the expression itself names.
func (e *expr) cause(err error) error {
	text := err.Error()
	key, isKey := strings.CutPrefix(text, "no such key: ")
	switch {
	case isKey && strings.Contains(e.text, key):
		return fmt.Errorf("%w %q", errMissing, key)
	case isKey:
		return errMissing
	case strings.Contains(text, notJSON):
		return errors.New(notJSON)
	case strings.Contains(text, "no such overload"):
		return errors.New("the answer holds another type there")
	case strings.Contains(text, "index out of bounds"):
		return errors.New("no such place in the list")
	case strings.Contains(text, "cost limit exceeded"):
		return errors.New("takes too much work on this answer")
	}
	return errors.New("can't be evaluated on this answer")
}

func (e *expr) fail(err error) error {
	shown := e.text
	if len(shown) > maxShown || strings.ContainsAny(shown, "\r\n") {
		shown = "the expression"
	}
	return fmt.Errorf("%s: %s: %w", e.path, shown, err)
}

// bool evaluates a condition.
func (e *expr) bool(ctx context.Context, vars map[string]any) (bool, error) {
	out, err := e.eval(ctx, vars)
	if err != nil {
		return false, err
	}
	if out == nil || out.Type() != types.BoolType {
		return false, e.fail(errors.New("is not a boolean"))
	}
	return out == types.True, nil
}

// id evaluates to a string or a whole number; null is "".
func (e *expr) id(ctx context.Context, vars map[string]any) (string, error) {
	out, err := e.eval(ctx, vars)
	if err != nil || out == nil {
		return "", err
	}
	switch v := out.(type) {
	case types.String:
		return string(v), nil
	case types.Int:
		return strconv.FormatInt(int64(v), 10), nil
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10), nil
	}
	return "", e.fail(errors.New("is neither a string nor a whole number"))
}

// string evaluates to a string; null is "".
func (e *expr) string(ctx context.Context, vars map[string]any) (string, error) {
	out, err := e.eval(ctx, vars)
	if err != nil || out == nil {
		return "", err
	}
	text, ok := out.(types.String)
	if !ok {
		return "", e.fail(errors.New("is not a string"))
	}
	return string(text), nil
}

// needed refuses the empty string, and one that is no ID or credential for its length.
func (e *expr) needed(text string, err error) (string, error) {
	switch {
	case err != nil:
	case text == "":
		err = e.fail(errors.New("is empty or null"))
	case len(text) > maxText:
		text, err = "", e.fail(fmt.Errorf("is longer than %d bytes", maxText))
	}
	return text, err
}

// time evaluates to a time; null, "", 0 and a key that isn't there are none.
func (e *expr) time(ctx context.Context, vars map[string]any) (time.Time, error) {
	if e == nil {
		return time.Time{}, nil
	}
	out, err := e.eval(ctx, vars)
	if errors.Is(err, errMissing) {
		return time.Time{}, nil
	}
	if err != nil || out == nil {
		return time.Time{}, err
	}
	var seconds int64
	switch v := out.(type) {
	case types.Timestamp:
		return v.UTC(), nil
	case types.String:
		if v == "" {
			return time.Time{}, nil
		}
		at, err := time.Parse(time.RFC3339, string(v))
		if err != nil {
			return time.Time{}, e.fail(errors.New("is not an RFC 3339 time"))
		}
		return at.UTC(), nil
	case types.Int:
		seconds = int64(v)
	case types.Double:
		seconds = int64(v)
	default:
		return time.Time{}, e.fail(errors.New("is neither an RFC 3339 time nor Unix seconds"))
	}
	if seconds < 0 || seconds > maxUnix {
		return time.Time{}, e.fail(errors.New("is not in Unix seconds; divide milliseconds by 1000"))
	}
	if seconds == 0 {
		return time.Time{}, nil
	}
	return time.Unix(seconds, 0).UTC(), nil
}

const maxUnix = 253402300799 // the end of year 9999

// list evaluates to a list.
func (e *expr) list(ctx context.Context, vars map[string]any) ([]ref.Val, error) {
	out, err := e.eval(ctx, vars)
	if err != nil {
		return nil, err
	}
	list, ok := out.(traits.Lister)
	if !ok {
		return nil, e.fail(errors.New("is not a list"))
	}
	var items []ref.Val
	for it := list.Iterator(); it.HasNext() == types.True; {
		items = append(items, it.Next())
	}
	return items, nil
}

// strings evaluates to a list of strings, or a string with spaces between;
// nil: null, or a key that isn't there.
func (e *expr) strings(ctx context.Context, vars map[string]any) ([]string, error) {
	if e == nil {
		return nil, nil
	}
	out, err := e.eval(ctx, vars)
	if errors.Is(err, errMissing) {
		return nil, nil
	}
	if err != nil || out == nil {
		return nil, err
	}
	if text, ok := out.(types.String); ok {
		return strings.Fields(string(text)), nil
	}
	list, ok := out.(traits.Lister)
	if !ok {
		return nil, e.fail(errors.New("is not a list of strings"))
	}
	all := []string{}
	for it := list.Iterator(); it.HasNext() == types.True; {
		text, ok := it.Next().(types.String)
		if !ok {
			return nil, e.fail(errors.New("is not a list of strings"))
		}
		all = append(all, string(text))
	}
	return all, nil
}
