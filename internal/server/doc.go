// Package server is how a person, a script or a probe of Kubernetes talks to a
// running rotatord: a JSON API over a unix socket beside the database, a typed
// client of it, and the health and metrics pages of server.listen.
//
// The API's only door is the socket, which its owner and root alone may open;
// server.listen never offers it. Who asked is what the kernel says of the other
// end, not what a request claims. The value that `provide` hands over is taken
// as a raw body: it appears in no answer, error or log.
//
// The package decides nothing: each handler is one call of Local, and Local is
// one call of the engine and its translation. A command that runs without a
// daemon calls Local itself and sees the same answers.
//
// To add an operation, add a method to one of the small interfaces in port.go,
// to Local and to Client, and a line with its path in routes.go.
package server
