package awssim_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"github.com/rotatord/rotatord/internal/awssim"
)

const token = "0123456789abcdef0123456789abcdef"

func client(t *testing.T, url, accessKey, secretKey string) *secretsmanager.Client {
	t.Helper()
	return secretsmanager.New(secretsmanager.Options{
		Region: awssim.Region, BaseEndpoint: &url, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
	})
}

func wantCode(t *testing.T, what string, err error, want string) {
	t.Helper()
	got := ""
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		got = answer.ErrorCode()
	}
	if got != want {
		t.Errorf("%s = %v; want %q", what, err, want)
	}
}

// The official client is understood, and what AWS refuses is refused.
func TestRules(t *testing.T) {
	sim := awssim.New("AK", "right")
	server := httptest.NewServer(sim)
	defer server.Close()
	ours := client(t, server.URL, "AK", "right")
	create := func(ctx context.Context, text string) error {
		_, err := ours.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("crm"), ClientRequestToken: aws.String(token), SecretString: &text})
		return err
	}
	put := func(id, text string, labels ...string) error {
		_, err := ours.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("crm"), ClientRequestToken: &id, SecretString: &text, VersionStages: labels})
		return err
	}
	move := func(label string, from, to *string) error {
		_, err := ours.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{SecretId: aws.String("crm"), VersionStage: &label, RemoveFromVersionId: from, MoveToVersionId: to})
		return err
	}
	one, two := aws.String(token), aws.String("x"+token)
	wantCode(t, "create", create(t.Context(), "v"), "")
	wantCode(t, "create again", create(t.Context(), "v"), "")
	wantCode(t, "create with another value", create(t.Context(), "w"), "ResourceExistsException")
	wantCode(t, "a token that is too short", put("short", "v"), "ValidationException")
	wantCode(t, "an empty value", put(*two, ""), "ValidationException")
	wantCode(t, "put", put(*two, "w", "AWSPENDING"), "")
	wantCode(t, "put again", put(*two, "w", "AWSPENDING"), "")
	wantCode(t, "put with another value", put(*two, "x", "AWSPENDING"), "ResourceExistsException")
	wantCode(t, "move without from", move("AWSCURRENT", nil, two), "InvalidParameterException")
	wantCode(t, "move from another", move("AWSCURRENT", two, two), "InvalidParameterException")
	wantCode(t, "move to nothing", move("AWSCURRENT", one, nil), "InvalidParameterException")
	wantCode(t, "move", move("AWSCURRENT", one, two), "")
	if previous, _ := sim.Read("crm", "AWSPREVIOUS"); previous != "v" {
		t.Errorf("AWSPREVIOUS = %q; want v", previous)
	}
	wantCode(t, "take a label off", move("AWSPENDING", two, nil), "")
	_, err := client(t, server.URL, "AK", "wrong").DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("crm")})
	wantCode(t, "a wrong signature", err, "InvalidSignatureException")
	_, err = client(t, server.URL, "AL", "right").DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("crm")})
	wantCode(t, "an unknown key", err, "UnrecognizedClientException")
	_, err = ours.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{})
	wantCode(t, "an action that is not there", err, "UnknownOperationException")
	_, err = ours.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("nope")})
	wantCode(t, "no secret", err, "ResourceNotFoundException")
	_, err = ours.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("crm"), VersionStage: aws.String("nope")})
	wantCode(t, "no label", err, "ResourceNotFoundException")
	sim.Change("crm", awssim.Change{Deleted: true})
	wantCode(t, "create over a deleted one", create(t.Context(), "v"), "InvalidRequestException")
	wantCode(t, "put into a deleted one", put(*two, "w"), "InvalidRequestException")
}

func TestQuota(t *testing.T) {
	sim := awssim.New("AK", "right")
	sim.Quota = 2
	sim.Write("crm", "v")
	server := httptest.NewServer(sim)
	defer server.Close()
	for i, want := range []string{"", "", "ThrottlingException"} {
		id := strings.Repeat("abc"[i:i+1], 32)
		_, err := client(t, server.URL, "AK", "right").PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("crm"), ClientRequestToken: &id, SecretString: aws.String("w")})
		wantCode(t, "a write", err, want)
	}
	if sim.Calls("PutSecretValue") != 3 || sim.Calls("PutSecretValue ThrottlingException") != 1 {
		t.Errorf("%d calls, %d throttled; want 3 and 1", sim.Calls("PutSecretValue"), sim.Calls("PutSecretValue ThrottlingException"))
	}
}

func TestUnsigned(t *testing.T) {
	server := httptest.NewServer(awssim.New("AK", "right"))
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("X-Amz-Target", "secretsmanager.DescribeSecret")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if !strings.Contains(string(text), "MissingAuthenticationTokenException") {
		t.Errorf("an unsigned request: %s", text)
	}
}
