// A greeter: GET / is a page, GET /api?name=NAME the greeting as JSON.
package main

import (
	"embed"
	"encoding/json"
	"html/template"
	"log"
	"net/http"
	"strings"
	"time"
)

const address = ":8080"

//go:embed page.html
var files embed.FS

var page = template.Must(template.ParseFS(files, "page.html"))

// Greeting is the answer to a visitor.
type Greeting struct {
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// greet returns the greeting of a visitor; an empty name is the world.
func greet(name string, at time.Time) Greeting {
	name = strings.TrimSpace(name)
	if name == "" {
		name = "world"
	}
	return Greeting{Text: "Hello, " + name + "!", At: at.UTC()}
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if err := page.Execute(w, greet(r.URL.Query().Get("name"), time.Now())); err != nil {
			log.Print(err)
		}
	})
	mux.HandleFunc("GET /api", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(greet(r.URL.Query().Get("name"), time.Now())); err != nil {
			log.Print(err)
		}
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("ok\n"))
	})
	return mux
}

func main() {
	log.Printf("listening on %s", address)
	log.Fatal(http.ListenAndServe(address, routes()))
}
