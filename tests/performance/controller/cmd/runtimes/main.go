// Command runtimes answers for every simulated pod: a kwok pod has an address but no process, and
// this one says on the internal port that whatever configuration is asked for is followed.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
)

func state(answer http.ResponseWriter, request *http.Request) {
	answer.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(answer).Encode(map[string]any{
		"organization": "simulated", "runtimeId": "simulated", "runtimeVersion": "0.0.0",
		"configurationHash": request.URL.Query().Get("hash"),
	})
}

func main() {
	address := flag.String("address", ":9090", "where to listen")
	flag.Parse()
	http.HandleFunc("GET /internal/state", state)
	fmt.Fprintln(os.Stderr, http.ListenAndServe(*address, nil))
	os.Exit(1)
}
