package testservers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

func toxiproxyServer() Server {
	return Server{Name: "toxiproxy", Version: "2.12.0", Cost: "once, about 40 seconds on two cores"}
}

// A ToxiproxyServer is a running Toxiproxy. What it can do to a connection is
// said in https://github.com/Shopify/toxiproxy#toxics.
type ToxiproxyServer struct {
	addr string // of its API

	*process
	client *http.Client
	made   atomic.Int64
}

// Toxiproxy starts a Toxiproxy for a test and stops it at the test's end;
// needed says what happens where there is none.
func Toxiproxy(t testing.TB) *ToxiproxyServer {
	t.Helper()
	var line struct {
		Addr string `json:"addr"`
	}
	process, err := start(t.Context(), toxiproxyServer(), &line)
	needed(t, toxiproxyServer(), err)
	t.Cleanup(process.Stop)
	return &ToxiproxyServer{addr: line.Addr, process: process, client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// A ToxiProxy is one way through a ToxiproxyServer.
type ToxiProxy struct {
	Addr string // host:port to connect to

	server *ToxiproxyServer
	name   string
	toxic  string // the one that is set
}

// Proxy makes a way to host:port. Its name must be new.
func (s *ToxiproxyServer) Proxy(t testing.TB, name, upstream string) *ToxiProxy {
	t.Helper()
	var made struct {
		Listen string `json:"listen"`
	}
	// An address of its own: while it is down, nobody else takes its port.
	n := s.made.Add(1)
	listen := fmt.Sprintf("127.%d.%d.%d:0", 100+os.Getpid()%100, n/250, n%250+1)
	s.call(t, http.MethodPost, "/proxies", map[string]any{"name": name, "listen": listen, "upstream": upstream, "enabled": true}, &made)
	return &ToxiProxy{Addr: made.Listen, server: s, name: name}
}

// Disturb sets a toxic for what the upstream answers, instead of the one
// before. The kind "down" cuts all connections and refuses new ones.
func (p *ToxiProxy) Disturb(t testing.TB, kind string, attributes map[string]int) {
	t.Helper()
	p.Restore(t)
	p.toxic = kind
	if kind == "down" {
		p.server.call(t, http.MethodPost, "/proxies/"+p.name, map[string]any{"enabled": false}, nil)
		return
	}
	p.server.call(t, http.MethodPost, "/proxies/"+p.name+"/toxics", map[string]any{"name": kind, "type": kind, "attributes": attributes}, nil)
}

// Restore takes the toxic away.
func (p *ToxiProxy) Restore(t testing.TB) {
	t.Helper()
	switch p.toxic {
	case "":
	case "down":
		p.server.call(t, http.MethodPost, "/proxies/"+p.name, map[string]any{"enabled": true}, nil)
	default:
		p.server.call(t, http.MethodDelete, "/proxies/"+p.name+"/toxics/"+p.toxic, nil, nil)
	}
	p.toxic = ""
}

func (s *ToxiproxyServer) call(t testing.TB, method, path string, body, answer any) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, s.addr+path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(got.Body)
	_ = got.Body.Close()
	if err == nil && got.StatusCode/100 != 2 {
		err = fmt.Errorf("status %d: %s", got.StatusCode, text)
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(text, answer)
	}
	if err != nil {
		t.Fatalf("toxiproxy: %s %s: %v", method, path, err)
	}
}
