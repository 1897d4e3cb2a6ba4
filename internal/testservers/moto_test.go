package testservers_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rotatord/rotatord/internal/testservers"
)

func TestMoto(t *testing.T) {
	moto := testservers.Moto(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	call := func() (int, string, error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, moto.Addr, strings.NewReader(`{"Name": "x", "SecretString": "v"}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-amz-json-1.1")
		request.Header.Set("X-Amz-Target", "secretsmanager.CreateSecret")
		request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=a/20260101/eu-west-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=b")
		answer, err := client.Do(request)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		return answer.StatusCode, string(body), err
	}
	if status, body, err := call(); err != nil || status != http.StatusOK || !strings.Contains(body, "arn:aws:secretsmanager:eu-west-1:") {
		t.Errorf("CreateSecret: %d, %s, %v; want a secret's ARN", status, body, err)
	}
	moto.Enforce(t)
	if status, body, err := call(); err != nil || status/100 != 4 {
		t.Errorf("CreateSecret with a wrong signature: %d, %s, %v; want it refused", status, body, err)
	}
	moto.Stop()
	if status, _, err := call(); err == nil {
		t.Errorf("a stopped moto answers %d", status)
	}
}
