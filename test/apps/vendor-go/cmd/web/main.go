// Command web serves the greeting of a vendored module.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"

	"example.org/greeting"
)

func main() {
	http.HandleFunc("/", func(response http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(response, greeting.Text)
	})
	log.Fatal(http.ListenAndServe(os.Getenv("HOST")+":"+os.Getenv("PORT"), nil))
}
