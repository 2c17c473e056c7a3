package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// What a server tells of itself and of who asked.
type answer struct {
	Pod    string `json:"pod"`
	Peer   string `json:"peer"`
	Path   string `json:"path"`
	Marker string `json:"marker"`
}

// serve answers HTTP with what it knows of its caller, and echoes lines on a TCP port. On SIGTERM readiness goes at once, new
// connections are served for -drain longer, then it ends: what a well-behaved application does.
func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	web := flags.String("http", ":8080", "address of the HTTP server")
	echo := flags.String("tcp", ":9000", "address of the TCP echo")
	marker := flags.String("marker", "", "text that every answer carries")
	drain := flags.Duration("drain", 0, "how long it goes on serving after SIGTERM")
	flags.Parse(args)

	var leaving atomic.Bool
	pod, _ := os.Hostname()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "application/json")
		json.NewEncoder(w).Encode(answer{Pod: pod, Peer: r.RemoteAddr, Path: r.URL.Path, Marker: *marker})
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		if leaving.Load() {
			http.Error(w, "leaving", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	lines, err := net.Listen("tcp", *echo)
	if err != nil {
		return err
	}
	go echoLines(lines, pod, *marker)

	server := &http.Server{Addr: *web, Handler: mux}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-stop:
	}
	leaving.Store(true)
	time.Sleep(*drain)
	deadline, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(deadline)
}

// echoLines greets with one line (pod and marker), then sends each line back.
func echoLines(listener net.Listener, pod, marker string) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			fmt.Fprintf(connection, "%s %s %s\n", pod, connection.RemoteAddr(), marker)
			input := bufio.NewScanner(connection)
			for input.Scan() {
				if _, err := fmt.Fprintf(connection, "%s\n", input.Bytes()); err != nil {
					return
				}
			}
		}()
	}
}
