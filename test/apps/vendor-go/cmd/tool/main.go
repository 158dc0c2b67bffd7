// Command tool prints the greeting: for one-off tasks.
package main

import (
	"fmt"

	"example.org/greeting"
)

func main() { fmt.Println(greeting.Text) }
