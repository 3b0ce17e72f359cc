package dtls

// otherLoopbacks: every address of 127/8 is this machine's.
var otherLoopbacks = []string{"127.0.0.2", "127.1.2.3"}
