// Command hello says who answers, with nothing but Go's standard library.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	index := os.Getenv("CF_INSTANCE_INDEX")
	if index == "" {
		index = "0"
	}
	http.HandleFunc("/", func(response http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(response, "hello from go, index %s\n", index)
	})
	address := os.Getenv("HOST") + ":" + os.Getenv("PORT")
	log.Print("hello-go listens on ", address)
	log.Fatal(http.ListenAndServe(address, nil))
}
