//go:build !linux

package dtls

var otherLoopbacks []string
