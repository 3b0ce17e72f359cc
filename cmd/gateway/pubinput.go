package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"mqttsn-gateway/mqttsn"
)

// maxPayload is the largest message that a PUBLISH can carry: Length and MsgType in the
// long form, Flags, TopicId and MsgId take 9 octets.
const maxPayload = mqttsn.MaxPacket - 9

// nextMessage gives one message after the other; more is false when there is none left.
type nextMessage func(ctx context.Context) (payload []byte, more bool, err error)

// messages is what the flags say is to be published.
func (f *pubFlags) messages(cmd *cobra.Command) (nextMessage, error) {
	switch {
	case f.lines:
		return readLines(cmd.InOrStdin()), nil
	case f.stdin, f.wholeFile == "-":
		return readWhole("stdin", cmd.InOrStdin())
	case f.wholeFile != "":
		file, err := os.Open(f.wholeFile)
		if err != nil {
			return nil, fmt.Errorf("the file to publish: %w", err)
		}
		defer file.Close()
		return readWhole(f.wholeFile, file)
	default: // with -n the message is empty
		if len(f.message) > maxPayload {
			return nil, errTooLong("the message")
		}
		return single([]byte(f.message)), nil
	}
}

func errTooLong(what string) error {
	return fmt.Errorf("%s is longer than %d octets, the most that a PUBLISH can carry", what, maxPayload)
}

func single(payload []byte) nextMessage {
	more := true
	return func(context.Context) ([]byte, bool, error) {
		was := more
		more = false
		return payload, was, nil
	}
}

func readWhole(name string, r io.Reader) (nextMessage, error) {
	payload, err := io.ReadAll(io.LimitReader(r, maxPayload+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(payload) > maxPayload {
		return nil, errTooLong(name)
	}
	return single(payload), nil
}

// readLines reads lines in the background, so that a signal, or a gateway that is lost,
// does not have to wait for the next line.
func readLines(r io.Reader) nextMessage {
	type line struct {
		payload []byte
		err     error
	}
	lines := make(chan line)
	next := make(chan struct{}, 1)
	go func() {
		defer close(lines)
		s := bufio.NewScanner(r)
		s.Buffer(make([]byte, 0, 4096), maxPayload+2)
		for range next {
			if !s.Scan() {
				switch err := s.Err(); {
				case errors.Is(err, bufio.ErrTooLong):
					lines <- line{err: errTooLong("a line of stdin")}
				case err != nil:
					lines <- line{err: fmt.Errorf("reading stdin: %w", err)}
				}
				return
			}
			if len(s.Bytes()) > maxPayload {
				lines <- line{err: errTooLong("a line of stdin")}
				return
			}
			lines <- line{payload: s.Bytes()}
		}
	}()
	return func(ctx context.Context) ([]byte, bool, error) {
		select {
		case next <- struct{}{}:
		default:
		}
		select {
		case l, more := <-lines:
			return l.payload, more, l.err
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
}
