package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// One request over a connection of its own, as a line of JSON.
type asked struct {
	OK     bool            `json:"ok"`
	Status int             `json:"status,omitempty"`
	Ms     int64           `json:"ms"`
	Error  string          `json:"error,omitempty"`
	Body   json.RawMessage `json:"body,omitempty"`
}

// get asks a URL -count times (0: for ever) and fails when the last one failed.
func get(args []string) error {
	flags := flag.NewFlagSet("get", flag.ExitOnError)
	timeout := flags.Duration("timeout", 5*time.Second, "how long one request may take")
	count := flags.Int("count", 1, "how many times; 0 means for ever")
	every := flags.Duration("every", time.Second, "pause between two requests")
	flags.Parse(args)
	if flags.NArg() != 1 {
		return errors.New("usage: app get [-timeout 5s] [-count 1] [-every 1s] URL")
	}
	client := &http.Client{Timeout: *timeout, Transport: &http.Transport{DisableKeepAlives: true}}
	output := json.NewEncoder(os.Stdout)
	for i := 1; ; i++ {
		result := ask(client, flags.Arg(0))
		output.Encode(result)
		if *count > 0 && i >= *count {
			if !result.OK {
				os.Exit(1)
			}
			return nil
		}
		time.Sleep(*every)
	}
}

func ask(client *http.Client, url string) asked {
	started := time.Now()
	response, err := client.Get(url)
	result := asked{Ms: time.Since(started).Milliseconds()}
	if err != nil {
		result.Error = err.Error()
		return result
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	result.Ms = time.Since(started).Milliseconds()
	result.Status = response.StatusCode
	if err != nil {
		result.Error = err.Error()
		return result
	}
	if json.Valid(body) {
		result.Body = body
	}
	result.OK = response.StatusCode == http.StatusOK
	return result
}

// probe is for exec probes: succeeds when the server of its own pod says it is ready.
func probe(args []string) error {
	flags := flag.NewFlagSet("probe", flag.ExitOnError)
	url := flags.String("url", "http://127.0.0.1:8080/readyz", "what to ask")
	flags.Parse(args)
	client := &http.Client{Timeout: time.Second}
	if result := ask(client, *url); !result.OK {
		return errors.New("not ready: " + result.Error)
	}
	return nil
}

// pause holds a pod's namespaces until it is told to end.
func pause([]string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	return nil
}
