package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// gatewayBinary is the gateway under test.
var gatewayBinary = os.Getenv("E2E_BINARY")

// parallelTests is how many tests run at once: they wait for timers most of the time.
const parallelTests = "16"

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	flag.Parse()
	parallelGiven := false
	flag.Visit(func(f *flag.Flag) { parallelGiven = parallelGiven || f.Name == "test.parallel" })
	if !parallelGiven {
		_ = flag.Set("test.parallel", parallelTests)
	}
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if gatewayBinary == "" {
		gatewayBinary = filepath.Join(dir, "gateway")
		if out, err := exec.Command("go", buildArgs(gatewayBinary)...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: go build ./cmd/gateway: %v\n%s", err, out)
			return 1
		}
	}
	code := m.Run()
	reportAbsent()
	complaints, err := tsharkJudges(dir, recorded.datagrams)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	for _, complaint := range complaints {
		fmt.Println("e2e: tshark does not accept", complaint)
		code = 1
	}
	fmt.Printf("e2e: tshark judged %d different datagrams of the gateway\n", len(recorded.datagrams))
	return code
}

func buildArgs(path string) []string {
	args := []string{"build", "-o", path}
	if os.Getenv("E2E_RACE") != "" {
		args = append(args, "-race")
	}
	return append(args, "mqttsn-gateway/cmd/gateway")
}
