// Given two ports: opens connections to both, forgets those to the first, and closes those to the second.
package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

var kept []net.Conn

func main() {
	fmt.Println("0 0")
	for {
		fetchAndForget(os.Args[1])
		fetchAndClose(os.Args[2])
		time.Sleep(50 * time.Millisecond)
	}
}

//go:noinline
func fetchAndForget(port string) {
	connection, err := net.Dial("tcp4", "127.0.0.1:"+port)
	if err != nil {
		panic(err)
	}
	kept = append(kept, connection)
}

//go:noinline
func fetchAndClose(port string) {
	connection, err := net.Dial("tcp4", "127.0.0.1:"+port)
	if err != nil {
		panic(err)
	}
	connection.Close()
}
