package vaultstore

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/rotatord/rotatord/rotator"
)

// Auth says how to log in.
type Auth struct {
	Method      string               `yaml:"method" json:"method" jsonschema:"required,enum=token,enum=token_file,enum=approle,enum=kubernetes,enum=jwt,enum=aws,enum=cert,description=token\\, token_file\\, approle\\, kubernetes\\, jwt\\, aws or cert"`
	Token       rotator.SecretSource `yaml:"token,omitempty" json:"token,omitzero" jsonschema:"description=For token: the token"`
	TokenFile   string               `yaml:"token_file,omitempty" json:"token_file,omitempty" jsonschema:"description=For token_file: the file that holds the token (as Vault Agent writes it); read anew when the token is refused"`
	RoleID      string               `yaml:"role_id,omitempty" json:"role_id,omitempty" jsonschema:"description=For approle: the role ID"`
	SecretID    rotator.SecretSource `yaml:"secret_id,omitempty" json:"secret_id,omitzero" jsonschema:"description=For approle: the secret ID; read anew at each log-in"`
	Role        string               `yaml:"role,omitempty" json:"role,omitempty" jsonschema:"description=For kubernetes\\, jwt and aws: the role; for cert: the only one to try (default: any that trusts the certificate)"`
	JWT         rotator.SecretSource `yaml:"jwt,omitempty" json:"jwt,omitzero" jsonschema:"description=For jwt: the JWT; read anew at each log-in. Either this or jwt_file"`
	JWTFile     string               `yaml:"jwt_file,omitempty" json:"jwt_file,omitempty" jsonschema:"description=For jwt and kubernetes: the file with the JWT; read anew at each log-in (default for kubernetes: /var/run/secrets/kubernetes.io/serviceaccount/token)"`
	Region      string               `yaml:"region,omitempty" json:"region,omitempty" jsonschema:"description=For aws: region whose STS the signed request is for; it must be that of Vault's sts_endpoint (default: the global endpoint\\, as Vault has it)"`
	HeaderValue string               `yaml:"header_value,omitempty" json:"header_value,omitempty" jsonschema:"description=For aws: what Vault's iam_server_id_header_value says"`
	CertFile    string               `yaml:"cert_file,omitempty" json:"cert_file,omitempty" jsonschema:"description=For cert: PEM file with the client certificate and its intermediates; read anew at each log-in"`
	KeyFile     string               `yaml:"key_file,omitempty" json:"key_file,omitempty" jsonschema:"description=For cert: PEM file with its private key; read anew at each log-in"`
	Mount       string               `yaml:"mount,omitempty" json:"mount,omitempty" jsonschema:"description=For all but token and token_file: path of the auth mount (default: the name of the method)"`
}

// fields of the configuration that a way to log in has, and what would mend it
// when Vault refuses.
type fields struct {
	needs, may, oneOf []string
	mend              string
}

// methods maps each way to log in to its fields.
func methods() map[string]fields {
	return map[string]fields{
		"token": {
			needs: []string{"token"},
			mend:  "make a new token and put it where auth.token says",
		},
		"token_file": {
			needs: []string{"token_file"},
			mend:  "see why Vault Agent, or what else writes auth.token_file, wrote no new one",
		},
		"approle": {
			needs: []string{"role_id", "secret_id"}, may: []string{"mount"},
			mend: "check role_id and mount, and make a new secret ID: this one may be expired, used up or of another role",
		},
		"kubernetes": {
			needs: []string{"role"}, may: []string{"jwt_file", "mount"},
			mend: "check role and mount, that the role binds this service account and its namespace, and that Vault may review its tokens",
		},
		"jwt": {
			needs: []string{"role"}, may: []string{"mount"}, oneOf: []string{"jwt", "jwt_file"},
			mend: "check role and mount; the JWT may be expired, of another issuer, or not have what the role binds",
		},
		"aws": {
			needs: []string{"role"}, may: []string{"region", "header_value", "mount"},
			mend: "check role, mount and header_value, that the role binds this principal, and that region is that of Vault's sts_endpoint",
		},
		"cert": {
			needs: []string{"cert_file", "key_file"}, may: []string{"role", "mount"},
			mend: "check role and mount; the certificate may be expired or not one that the role trusts, or a proxy in between takes it away",
		},
	}
}

var regionName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)+$`)

func (a Auth) validate() error {
	set := map[string]bool{
		"token": !a.Token.IsZero(), "token_file": a.TokenFile != "", "role_id": a.RoleID != "", "secret_id": !a.SecretID.IsZero(),
		"role": a.Role != "", "jwt": !a.JWT.IsZero(), "jwt_file": a.JWTFile != "", "region": a.Region != "",
		"header_value": a.HeaderValue != "", "cert_file": a.CertFile != "", "key_file": a.KeyFile != "", "mount": a.Mount != "",
	}
	method, known := methods()[a.Method]
	if !known {
		return rotator.Field("auth.method", fmt.Errorf("%q is not one of %s", a.Method, strings.Join(slices.Sorted(maps.Keys(methods())), ", ")))
	}
	var mistakes []error
	for _, name := range slices.Sorted(maps.Keys(set)) {
		switch needed := slices.Contains(method.needs, name); {
		case needed && !set[name]:
			mistakes = append(mistakes, rotator.Field("auth."+name, fmt.Errorf("is needed for method %s", a.Method)))
		case set[name] && !needed && !slices.Contains(method.may, name) && !slices.Contains(method.oneOf, name):
			mistakes = append(mistakes, rotator.Field("auth."+name, fmt.Errorf("does not go with method %s", a.Method)))
		}
	}
	given := slices.DeleteFunc(slices.Clone(method.oneOf), func(name string) bool { return !set[name] })
	if len(method.oneOf) > 0 && len(given) != 1 {
		mistakes = append(mistakes, rotator.Field("auth."+method.oneOf[0],
			fmt.Errorf("method %s needs one of %s", a.Method, strings.Join(method.oneOf, " and "))))
	}
	for name, secret := range map[string]rotator.SecretSource{"token": a.Token, "secret_id": a.SecretID, "jwt": a.JWT} {
		if set[name] {
			mistakes = append(mistakes, rotator.Field("auth."+name, secret.Validate()))
		}
	}
	if set["region"] && !regionName.MatchString(a.Region) {
		mistakes = append(mistakes, rotator.Field("auth.region", errors.New("is not the name of a region, like eu-west-1")))
	}
	if set["mount"] {
		mistakes = append(mistakes, rotator.Field("auth.mount", checkPath(strings.Trim(a.Mount, "/"))))
	}
	return errors.Join(mistakes...)
}
