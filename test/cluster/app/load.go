package main

import (
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// What became of new connections.
type newConnections struct {
	Total  int            `json:"total"`
	Failed int            `json:"failed"`
	Errors map[string]int `json:"errors"`
	// From the start of the first request that failed to the end of the first success after the last failure.
	HealMs int64 `json:"healMs"`
	// The longest time without any request succeeding.
	LongestGapMs int64 `json:"longestGapMs"`
	SlowestMs    int64 `json:"slowestMs"`
	// The most requests that were under way when one failed: a server that ends at once cuts those, and no others.
	UnderWay int `json:"underWay"`
	// Not started, because -most requests were still waiting: a black hole looks like this.
	NotStarted int `json:"notStarted"`
}

type report struct {
	New  newConnections  `json:"new"`
	Held heldConnections `json:"held"`
}

// load opens -rate new connections a second, one request each, and keeps -held ones busy, until standard input ends, a signal
// comes, or -for is over. It says "started" when the first request was answered and every held connection stands, "a hundred" with each
// hundred requests that are over, and prints one report at the end.
func load(args []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	url := flags.String("url", "", "what new connections ask")
	rate := flags.Int("rate", 360, "new connections a second")
	most := flags.Int("most", 4000, "requests that may wait at the same time")
	timeout := flags.Duration("timeout", 10*time.Second, "how long one request may take")
	address := flags.String("hold", "", "host:port of the TCP echo for held connections")
	count := flags.Int("held", 20, "how many connections are held")
	length := flags.Duration("for", 0, "how long; 0 means until standard input ends")
	flags.Parse(args)

	var held *holder
	if *address != "" {
		held = startHolding(*address, *count)
		if err := held.waitUntilOpen(*timeout); err != nil {
			return err
		}
	}
	run := &generator{errors: map[string]int{}, client: &http.Client{
		Timeout: *timeout, Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext},
	}}
	if *url != "" {
		run.request(*url)
	}
	os.Stdout.WriteString("started\n")
	done := endOf(*length)
	if *url != "" {
		run.keepAsking(*url, *rate, *most, done)
	} else {
		<-done
	}
	result := report{New: run.summary()}
	if held != nil {
		result.Held = held.summary()
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// endOf is closed when it is time to end.
func endOf(length time.Duration) <-chan struct{} {
	done := make(chan struct{})
	var once sync.Once
	end := func() { once.Do(func() { close(done) }) }
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() { <-stop; end() }()
	if length > 0 {
		time.AfterFunc(length, end)
	} else {
		go func() { io.Copy(io.Discard, os.Stdin); end() }()
	}
	return done
}

type generator struct {
	client *http.Client

	mutex        sync.Mutex
	running      int
	underWay     int
	total        int
	failed       int
	notStarted   int
	errors       map[string]int
	firstFailure time.Time
	lastFailure  time.Time
	healed       time.Time
	lastSuccess  time.Time
	longestGap   time.Duration
	slowest      time.Duration
}

func (g *generator) keepAsking(url string, rate, most int, done <-chan struct{}) {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	slots := make(chan struct{}, most)
	var running sync.WaitGroup
	for {
		select {
		case <-done:
			running.Wait()
			return
		case <-tick.C:
		}
		select {
		case slots <- struct{}{}:
			running.Add(1)
			go func() { g.request(url); <-slots; running.Done() }()
		default:
			g.mutex.Lock()
			g.notStarted++
			g.mutex.Unlock()
		}
	}
}

func (g *generator) request(url string) {
	started := time.Now()
	g.mutex.Lock()
	g.running++
	g.mutex.Unlock()
	result := ask(g.client, url)
	ended := time.Now()
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.total++
	if g.total%100 == 0 {
		os.Stdout.WriteString("a hundred\n")
	}
	defer func() { g.running-- }()
	g.slowest = max(g.slowest, ended.Sub(started))
	if !result.OK {
		g.failed++
		g.underWay = max(g.underWay, g.running)
		g.errors[reasonOf(result)]++
		if g.firstFailure.IsZero() || started.Before(g.firstFailure) {
			g.firstFailure = started
		}
		g.lastFailure = ended
		g.healed = time.Time{}
		return
	}
	if !g.lastFailure.IsZero() && g.healed.IsZero() {
		g.healed = ended
	}
	if !g.lastSuccess.IsZero() {
		g.longestGap = max(g.longestGap, ended.Sub(g.lastSuccess))
	}
	g.lastSuccess = ended
}

func (g *generator) summary() newConnections {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	result := newConnections{
		Total: g.total, Failed: g.failed, Errors: g.errors, NotStarted: g.notStarted, UnderWay: g.underWay,
		LongestGapMs: g.longestGap.Milliseconds(), SlowestMs: g.slowest.Milliseconds(),
	}
	if !g.firstFailure.IsZero() {
		end := g.healed
		if end.IsZero() {
			end = time.Now()
		}
		result.HealMs = end.Sub(g.firstFailure).Milliseconds()
	}
	return result
}
