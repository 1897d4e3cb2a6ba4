// Package httpissuer is the issuer for any admin API that its owner can
// declare: the calls are templates, what their answers mean is said in CEL.
//
// It never follows a redirect (a log-in page that answers 200 proves nothing),
// never retries, never shortens a list, and never puts an answer, a URL or a
// secret into an error. A value that a template inserts can't leave its place:
// it is escaped for the path, the JSON or the form that it stands in.
//
// To add a field that templates know, add it to the roots of the call in
// compile.go; to add something that is read from an answer, add an expression
// there and its kind in expr.go. Keep Admin free of everything about checks:
// other issuers embed it.
package httpissuer
