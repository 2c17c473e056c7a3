package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// What became of held connections. A cut one is not opened again.
type heldConnections struct {
	Opened int            `json:"opened"`
	Cut    int            `json:"cut"`
	Errors map[string]int `json:"errors"`
	// The longest a line took to come back.
	SlowestMs int64 `json:"slowestMs"`
}

// hold keeps -held connections busy, as load does, and nothing else.
func hold(args []string) error {
	flags := flag.NewFlagSet("hold", flag.ExitOnError)
	count := flags.Int("held", 1, "how many connections")
	length := flags.Duration("for", 0, "how long; 0 means until standard input ends")
	flags.Parse(args)
	if flags.NArg() != 1 {
		return errors.New("usage: app hold [-held 1] [-for 0] HOST:PORT")
	}
	held := startHolding(flags.Arg(0), *count)
	if err := held.waitUntilOpen(10 * time.Second); err != nil {
		return err
	}
	os.Stdout.WriteString("started\n")
	<-endOf(*length)
	return json.NewEncoder(os.Stdout).Encode(held.summary())
}

type holder struct {
	opened chan error
	count  int

	mutex   sync.Mutex
	closing bool
	open    []net.Conn
	report  heldConnections
}

func startHolding(address string, count int) *holder {
	h := &holder{opened: make(chan error, count), count: count, report: heldConnections{Errors: map[string]int{}}}
	for i := range count {
		go h.keep(address, i)
	}
	return h
}

func (h *holder) waitUntilOpen(timeout time.Duration) error {
	deadline := time.After(timeout)
	for range h.count {
		select {
		case err := <-h.opened:
			if err != nil {
				return err
			}
		case <-deadline:
			return errors.New("a connection to be held was not opened in time")
		}
	}
	return nil
}

// keep sends a line every 100 ms and wants the same line back within 5 s.
func (h *holder) keep(address string, index int) {
	connection, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		h.opened <- err
		return
	}
	defer connection.Close()
	input := bufio.NewReader(connection)
	connection.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := input.ReadString('\n'); err != nil {
		h.opened <- err
		return
	}
	h.mutex.Lock()
	h.report.Opened++
	h.open = append(h.open, connection)
	h.mutex.Unlock()
	h.opened <- nil
	for line := 0; ; line++ {
		started := time.Now()
		connection.SetDeadline(started.Add(5 * time.Second))
		sent := "connection " + strconv.Itoa(index) + " line " + strconv.Itoa(line) + "\n"
		if _, err := fmt.Fprint(connection, sent); err != nil {
			h.cut(err.Error())
			return
		}
		received, err := input.ReadString('\n')
		if err != nil {
			h.cut(err.Error())
			return
		}
		if received != sent {
			h.cut("other bytes than were sent came back")
			return
		}
		h.mutex.Lock()
		h.report.SlowestMs = max(h.report.SlowestMs, time.Since(started).Milliseconds())
		h.mutex.Unlock()
		time.Sleep(100 * time.Millisecond)
	}
}

func (h *holder) cut(reason string) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.closing {
		return
	}
	h.report.Cut++
	h.report.Errors[withoutPorts(reason)]++
}

func (h *holder) summary() heldConnections {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.closing = true
	for _, connection := range h.open {
		connection.Close()
	}
	return h.report
}

var ports = regexp.MustCompile(`:\d+(->| |: )`)

// withoutPorts makes the same failure of different connections the same text.
func withoutPorts(text string) string {
	return ports.ReplaceAllString(text, ":*$1")
}

func reasonOf(result asked) string {
	if result.Error != "" {
		return withoutPorts(result.Error)
	}
	return "status " + strconv.Itoa(result.Status)
}
