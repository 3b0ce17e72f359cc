package faults

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// The binaries under test, and where they were built.
var (
	gatewayBinary = os.Getenv("FAULTS_BINARY")
	buildDir      string
)

// long is whether tests run in their full form.
var long = os.Getenv("FAULTS") == "long"

var seed = flag.Uint64("seed", 0, "decides when and where faults happen; 0 means a new one")

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	flag.Parse()
	parallelGiven := false
	flag.Visit(func(f *flag.Flag) { parallelGiven = parallelGiven || f.Name == "test.parallel" })
	if !parallelGiven {
		_ = flag.Set("test.parallel", "4") // they wait most of the time
	}
	if n, err := strconv.ParseUint(os.Getenv("FAULTS_SEED"), 10, 64); err == nil && *seed == 0 {
		*seed = n
	}
	if *seed == 0 {
		*seed = rand.Uint64N(1_000_000)
	}
	fmt.Printf("faults: seed %d, long %v, binary %q: repeat with -seed %d\n", *seed, long, gatewayBinary, *seed)
	var err error
	if buildDir, err = os.MkdirTemp("", "faults"); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(buildDir) }()
	if gatewayBinary == "" {
		gatewayBinary = filepath.Join(buildDir, "gateway")
		if err := build(gatewayBinary); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// build makes a binary of the gateway.
func build(path string, flags ...string) error {
	args := append([]string{"build", "-o", path}, append(flags, "mqttsn-gateway/cmd/gateway")...)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("faults: go %v: %w\n%s", args, err, out)
	}
	return nil
}

// dice is a source of random numbers of a test's own, so that its faults are the same
// whichever tests run beside it.
func dice(t testing.TB) *rand.Rand {
	h := uint64(14695981039346656037)
	for _, c := range []byte(t.Name()) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return rand.New(rand.NewPCG(*seed, h))
}

// form is the short or the full figure of a test.
func form[T any](short, full T) T {
	if long {
		return full
	}
	return short
}

// beside lets tests in their short form run beside each other: they wait most of the time.
// Full forms have the machine for themselves, for they tell figures.
func beside(t *testing.T) {
	if !long {
		t.Parallel()
	}
}
