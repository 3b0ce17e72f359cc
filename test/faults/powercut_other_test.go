//go:build !linux

package faults

import (
	"fmt"
	"testing"
)

// TestPowerCut needs Linux.
func TestPowerCut(t *testing.T) {
	notice := "NO POWER CUTS here: they need Linux; the simulated disk was used instead: go test ./gateway/store/disk -run TestSim"
	if long {
		t.Fatal(notice)
	}
	t.Log(notice)
	fmt.Println(notice)
}
