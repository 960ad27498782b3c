package main

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestGreet(t *testing.T) {
	at := time.Unix(0, 0)
	for name, expected := range map[string]string{"": "Hello, world!", " Ada ": "Hello, Ada!"} {
		if found := greet(name, at).Text; found != expected {
			t.Errorf("greet(%q) = %q, expected %q", name, found, expected)
		}
	}
}

func TestThePageEscapesTheName(t *testing.T) {
	answer := httptest.NewRecorder()
	routes().ServeHTTP(answer, httptest.NewRequest("GET", "/?name=%3Cb%3E", nil))
	if body := answer.Body.String(); answer.Code != 200 || !strings.Contains(body, "Hello, &lt;b&gt;!") {
		t.Errorf("%d: %s", answer.Code, body)
	}
}
