// A fortune for every name: a small HTTP server of the standard library.
package main

import (
	"fmt"
	"hash/fnv"
	"log"
	"net/http"
)

var fortunes = []string{"Ask again.", "Sleep first.", "Ship it."}

func fortune(name string) string {
	sum := fnv.New32a()
	sum.Write([]byte(name))
	return fortunes[sum.Sum32()%uint32(len(fortunes))]
}

func main() {
	http.HandleFunc("GET /{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, fortune(r.PathValue("name")))
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}
