package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// isTerminal reports whether somebody types what is read from f.
func isTerminal(f *os.File) bool {
	var mode uint32
	return windows.GetConsoleMode(windows.Handle(f.Fd()), &mode) == nil
}

// hideInput has a console not show what is typed, until show is called.
func hideInput(f *os.File) (show func(), err error) {
	console := windows.Handle(f.Fd())
	var old uint32
	if err := windows.GetConsoleMode(console, &old); err != nil {
		return nil, err
	}
	hidden := old&^windows.ENABLE_ECHO_INPUT | windows.ENABLE_LINE_INPUT | windows.ENABLE_PROCESSED_INPUT
	if err := windows.SetConsoleMode(console, hidden); err != nil {
		return nil, err
	}
	return func() { _ = windows.SetConsoleMode(console, old) }, nil
}
