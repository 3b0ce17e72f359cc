//go:build !unix

package secret

import (
	"io/fs"
	"os"
)

// keepOwner does nothing: a new file belongs to whom its directory says.
func keepOwner(*os.File, fs.FileInfo) error { return nil }

// syncDirectory does nothing: there is nothing to sync.
func syncDirectory(string) error { return nil }
