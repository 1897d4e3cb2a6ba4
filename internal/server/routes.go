package server

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rotatord/rotatord/rotator"
)

type (
	body[T any] struct{ Body T }

	tokensInput struct {
		Names []string `query:"name,explode" maxItems:"10000" doc:"Only these tokens; none: all"`
	}
	rotationInput struct {
		ID string `path:"id" maxLength:"128"`
	}
	planInput struct {
		Name   string         `path:"name" maxLength:"256"`
		Reason rotator.Reason `query:"reason" enum:"scheduled,offboarding,leak,expiry,manual" default:"manual"`
	}
	rotateInput struct {
		Name string `path:"name" maxLength:"256"`
		Body struct {
			Reason rotator.Reason `json:"reason" enum:"scheduled,offboarding,leak,expiry,manual"`
			Why    string         `json:"why,omitempty" maxLength:"1000"`
		}
	}
	decideInput struct {
		ID   string `path:"id" maxLength:"128"`
		Body struct {
			Decision rotator.Decision `json:"decision" enum:"resume,retry,abort,approve"`
			Why      string           `json:"why,omitempty" maxLength:"1000"`
		}
	}
	// The value is a raw body, not a JSON field: nothing that parses or
	// validates JSON can then quote it in an error.
	provideInput struct {
		Name    string `path:"name" maxLength:"256"`
		ID      string `query:"id" maxLength:"1024" doc:"The credential's ID at the issuer, where it is known"`
		RawBody []byte `contentType:"text/plain"`
	}
	adoptInput struct {
		Name string `path:"name" maxLength:"256"`
		Body struct {
			ID       string    `json:"id,omitempty" maxLength:"1024" doc:"The credential's ID at the issuer; empty: look for it there"`
			IssuedAt time.Time `json:"issued_at,omitzero" doc:"When it was issued, where that is known"`
		}
	}
	sweepInput struct {
		Name string `path:"name" maxLength:"256"`
		Body struct {
			Apply bool `json:"apply,omitempty" doc:"End the credentials that carry the token's marker"`
		}
	}

	tokenList struct {
		Tokens []Token `json:"tokens"`
	}
	rotationList struct {
		Rotations []Rotation `json:"rotations"`
	}
	provided struct {
		Fingerprint rotator.Fingerprint `json:"fingerprint"`
	}
	orphanList struct {
		Orphans []Orphan `json:"orphans"`
	}
)

// operation names one path; the limits are those of every operation.
func operation(id, method, path, summary string) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: "/api/v1" + path, Summary: summary,
		MaxBodyBytes: 1 << 20, BodyReadTimeout: 10 * time.Second,
	}
}

func (s *Server) register(api huma.API) {
	s.registerReads(api)
	s.registerActs(api)
}

func (s *Server) registerReads(api huma.API) {
	huma.Register(api, operation("get-daemon", http.MethodGet, "/daemon", "The process behind the socket"),
		func(context.Context, *struct{}) (*body[Daemon], error) {
			return &body[Daemon]{s.self}, nil
		})
	huma.Register(api, operation("list-tokens", http.MethodGet, "/tokens", "Tokens and their open rotations"),
		func(ctx context.Context, in *tokensInput) (*body[tokenList], error) {
			tokens, err := s.local(ctx).Tokens(ctx, in.Names...)
			return &body[tokenList]{tokenList{tokens}}, problem(err)
		})
	huma.Register(api, operation("plan", http.MethodGet, "/tokens/{name}/plan", "What a rotation would do"),
		func(ctx context.Context, in *planInput) (*body[Plan], error) {
			plan, err := s.local(ctx).Plan(ctx, in.Name, in.Reason)
			return &body[Plan]{plan}, problem(err)
		})
	huma.Register(api, operation("get-rotation", http.MethodGet, "/rotations/{id}", "One rotation, open or closed"),
		func(ctx context.Context, in *rotationInput) (*body[Rotation], error) {
			rotation, err := s.local(ctx).Rotation(ctx, in.ID)
			return &body[Rotation]{rotation}, problem(err)
		})
	watch := operation("watch-rotation", http.MethodGet, "/rotations/{id}/events",
		"Each change of a rotation until it is final or needs a person (server-sent events: rotation, end, problem)")
	watch.Responses = map[string]*huma.Response{"200": {
		Description: "OK", Content: map[string]*huma.MediaType{eventStream: {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
	huma.Register(api, watch, s.watch)
}

func (s *Server) registerActs(api huma.API) {
	huma.Register(api, operation("rotate", http.MethodPost, "/tokens/{name}/rotations", "Open a rotation"),
		func(ctx context.Context, in *rotateInput) (*body[Rotation], error) {
			rotation, err := s.local(ctx).Rotate(ctx, in.Name, in.Body.Reason, in.Body.Why)
			return &body[Rotation]{rotation}, problem(err)
		})
	huma.Register(api, operation("start-due", http.MethodPost, "/due", "Open a rotation for every token that is due"),
		func(ctx context.Context, _ *struct{}) (*body[rotationList], error) {
			rotations, err := s.local(ctx).StartDue(ctx)
			return &body[rotationList]{rotationList{rotations}}, problem(err)
		})
	huma.Register(api, operation("decide", http.MethodPost, "/rotations/{id}/decisions", "Decide a held rotation"),
		func(ctx context.Context, in *decideInput) (*body[Rotation], error) {
			rotation, err := s.local(ctx).Decide(ctx, in.ID, in.Body.Decision, in.Body.Why)
			return &body[Rotation]{rotation}, problem(err)
		})
	provide := operation("provide", http.MethodPost, "/tokens/{name}/provide", "Hand over a value that a person generated")
	provide.MaxBodyBytes = MaxValue
	huma.Register(api, provide, func(ctx context.Context, in *provideInput) (*body[provided], error) {
		fingerprint, err := s.local(ctx).Provide(ctx, in.Name, rotator.NewSecret(string(in.RawBody)), in.ID)
		return &body[provided]{provided{fingerprint}}, problem(err)
	})
	huma.Register(api, operation("adopt", http.MethodPost, "/tokens/{name}/adopt", "Take an existing credential as the current one"),
		func(ctx context.Context, in *adoptInput) (*body[Credential], error) {
			adopted, err := s.local(ctx).Adopt(ctx, in.Name, in.Body.ID, in.Body.IssuedAt)
			return &body[Credential]{adopted}, problem(err)
		})
	huma.Register(api, operation("sweep", http.MethodPost, "/tokens/{name}/sweep", "Find credentials that nobody owns"),
		func(ctx context.Context, in *sweepInput) (*body[orphanList], error) {
			orphans, err := s.local(ctx).Sweep(ctx, in.Name, in.Body.Apply)
			return &body[orphanList]{orphanList{orphans}}, problem(err)
		})
}
