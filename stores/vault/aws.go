package vaultstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"

	"github.com/rotatord/rotatord/rotator"
)

const (
	whoAmI       = "Action=GetCallerIdentity&Version=2011-06-15"
	globalRegion = "us-east-1" // that signatures for the global endpoint of STS name
)

// awsIdentity is the body of a log-in by IAM: a signed request to
// sts:GetCallerIdentity, which Vault sends to AWS to hear who signed it.
// https://developer.hashicorp.com/vault/api-docs/auth/aws#login
func (a Auth) awsIdentity(ctx context.Context) (map[string]any, error) {
	credentials, err := awsCredentials(ctx, a.Region)
	if err != nil {
		return nil, err
	}
	region := a.Region
	if region == "" {
		region = globalRegion
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, stsURL(a.Region), strings.NewReader(whoAmI))
	if err != nil {
		return nil, errors.New("name the endpoint of STS: check region")
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if a.HeaderValue != "" {
		request.Header.Set("X-Vault-AWS-IAM-Server-ID", a.HeaderValue)
	}
	sum := sha256.Sum256([]byte(whoAmI))
	if err := v4.NewSigner().SignHTTP(ctx, credentials, request, hex.EncodeToString(sum[:]), "sts", region, time.Now().UTC()); err != nil {
		return nil, errors.New("sign the request to STS")
	}
	headers, err := json.Marshal(request.Header)
	if err != nil {
		return nil, err
	}
	base := base64.StdEncoding.EncodeToString
	return map[string]any{
		"role":                    a.Role,
		"iam_http_request_method": request.Method,
		"iam_request_url":         base([]byte(request.URL.String())),
		"iam_request_body":        base([]byte(whoAmI)),
		"iam_request_headers":     base(headers),
	}, nil
}

// awsCredentials asks the SDK's default chain anew: environment, shared files,
// web identity, container, instance. Of its errors only AWS's own code is
// shown: they quote URLs and answers.
func awsCredentials(ctx context.Context, region string) (aws.Credentials, error) {
	loaded, err := config.LoadDefaultConfig(ctx,
		config.WithDefaultRegion(globalRegion), config.WithRegion(region),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }))
	if err != nil {
		return aws.Credentials{}, rotator.Unsent(errors.New("read the AWS configuration: check AWS_PROFILE and the shared files"))
	}
	credentials, err := loaded.Credentials.Retrieve(ctx)
	switch {
	case err == nil:
		return credentials, nil
	case ctx.Err() != nil:
		return aws.Credentials{}, context.Cause(ctx)
	}
	text := "no AWS credentials in the environment, the shared files, or from the web identity, the container or the instance"
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		text = fmt.Sprintf("get AWS credentials: AWS answered %q", answer.ErrorCode())
	}
	return aws.Credentials{}, rotator.Unsent(errors.New(text))
}

// stsURL is the endpoint of STS: the global one, which Vault asks by default, or
// that of a region. https://docs.aws.amazon.com/general/latest/gr/sts.html
func stsURL(region string) string {
	switch {
	case region == "":
		return "https://sts.amazonaws.com/"
	case strings.HasPrefix(region, "cn-"):
		return "https://sts." + region + ".amazonaws.com.cn/"
	}
	return "https://sts." + region + ".amazonaws.com/"
}
