// Package crashmatrix attacks the real binary: it kills rotatord with SIGKILL
// before and after every call to a plug-in and every append to the journal,
// starts it again the ordinary way, and looks from outside at what is left. Then
// it kills at random moments, takes away disk, file handles, key and database, and
// disturbs the network.
//
// Around rotatord everything is real but the service: a Vault, a file store,
// workers that call the service all the time, processes and signals. The service
// is the simulated Instasent, so that one can ask it what it accepts.
//
// It holds tests only, and they are slow: an ordinary `go test ./...` skips them.
//
//	go test ./internal/crashmatrix -matrix sample        what CI runs
//	go test ./internal/crashmatrix -matrix all -timeout 1h -write docs/crash-matrix.md
//	go test ./internal/crashmatrix -run TestKill -rounds 500 -timeout 3h
//	go test ./internal/crashmatrix -run TestFault -faults
//	go test ./internal/crashmatrix -run TestNetwork -network all
//
// To add a way of rotating, add it to scenarios; to add something to look at,
// add it to look.
package crashmatrix
