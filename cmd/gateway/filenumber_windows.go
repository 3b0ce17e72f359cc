package main

import "io/fs"

// fileNumber would tell files apart that have replaced each other.
func fileNumber(fs.FileInfo) uint64 { return 0 }
