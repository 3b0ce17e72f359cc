package store_test

import (
	"testing"

	"mqttsn-gateway/gateway/store"
	"mqttsn-gateway/gateway/store/storetest"
)

func TestMemoryConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return store.NewMemory() }, nil)
}
