package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"mqttsn-gateway/broker/auth"
	"mqttsn-gateway/gateway/secret"
)

const passwdLong = `passwd writes the file of users and passwords that auth.password_file names. Mosquitto
reads it too, and files of mosquitto_passwd may be given to it.

It sets the password of USER, who is added if not there. On a terminal it asks for the
password twice, without showing it; otherwise it reads one line of standard input. A gateway
that runs reads the file anew within seconds, or at once on SIGHUP.`

const passwdExample = `  gateway passwd -c passwords alice                 # a new file
  gateway passwd passwords bob
  printf %s "$SECRET" | gateway passwd passwords carol
  gateway passwd -D passwords bob                   # remove
  gateway passwd -U passwords                       # hash lines USER:PASSWORD`

// passwdFlags are the flags of gateway passwd, which are those of mosquitto_passwd.
type passwdFlags struct {
	create, remove, hash, batch bool
	algorithm                   string
	iterations                  int
}

// passwdCommand is gateway passwd.
func passwdCommand() *cobra.Command {
	f := &passwdFlags{}
	cmd := &cobra.Command{
		Use:     "passwd [-c | -D] FILE USER | passwd -U FILE",
		Short:   "Manage a file of users and passwords",
		Long:    passwdLong,
		Example: passwdExample,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr(), args)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.create, "create", "c", false, "make a new file; one that is there is left alone")
	flags.BoolVarP(&f.remove, "delete", "D", false, "remove the user")
	flags.BoolVarP(&f.hash, "update", "U", false, "replace plain passwords by their hashes")
	flags.StringVarP(&f.algorithm, "hash", "H", "sha512-pbkdf2", "`algorithm`: sha512-pbkdf2, or the weaker sha512 of Mosquitto before 2.0")
	flags.IntVarP(&f.iterations, "iterations", "I", auth.DefaultIterations, "`number` of iterations of sha512-pbkdf2: more slow down who guesses, and each first connection")
	flags.BoolVarP(&f.batch, "batch", "b", false, "refused: all users of a machine can see its command lines")
	_ = flags.MarkHidden("batch")
	cmd.MarkFlagsMutuallyExclusive("create", "delete", "update")
	return cmd
}

func (f *passwdFlags) run(ctx context.Context, in io.Reader, out io.Writer, args []string) error {
	hashing, err := f.hashing()
	switch {
	case err != nil:
		return err
	case f.batch:
		return errors.New("-b: a password on the command line can be seen by all users of this machine; give it on standard input: printf %s \"$SECRET\" | gateway passwd FILE USER")
	case f.hash && len(args) != 1:
		return errors.New("-U takes the name of the file, and nothing else")
	case !f.hash && len(args) != 2:
		return errors.New("the name of the file and that of the user are needed: gateway passwd FILE USER")
	case f.hash:
		return rewrite(args[0], func(text string) (string, error) {
			text, n, err := auth.HashPlain(text, hashing)
			if err == nil {
				fmt.Fprintf(out, "%d plain passwords are hashes now\n", n)
			}
			return text, err
		})
	}
	name, user := args[0], args[1]
	if err := auth.ValidUser(user); err != nil {
		return err
	}
	if f.remove {
		return rewrite(name, func(text string) (string, error) { return auth.RemoveUser(text, user) })
	}
	if err := f.expect(name); err != nil { // before anybody types a password
		return err
	}
	password, err := readPassword(ctx, in, out)
	if err != nil {
		return err
	}
	if f.create {
		text, err := auth.SetPassword("", user, password, hashing)
		if err != nil {
			return err
		}
		return secret.Create(name, []byte(text))
	}
	return rewrite(name, func(text string) (string, error) { return auth.SetPassword(text, user, password, hashing) })
}

func (f *passwdFlags) hashing() (auth.Hashing, error) {
	switch f.algorithm {
	case "sha512-pbkdf2":
		if f.iterations < 1 {
			return auth.Hashing{}, fmt.Errorf("-I: %d iterations are given; at least 1 is needed", f.iterations)
		}
		h := auth.Hashing{Iterations: f.iterations}
		return h, h.Validate()
	case "sha512":
		return auth.Hashing{}, nil
	}
	return auth.Hashing{}, fmt.Errorf("-H: %q is given; allowed are sha512-pbkdf2 and sha512", f.algorithm)
}

// expect says whether the file is there, as it should be or not.
func (f *passwdFlags) expect(name string) error {
	_, err := os.Stat(name)
	switch {
	case f.create && err == nil:
		return fmt.Errorf("%s is there already: leave out -c to add a user to it", name)
	case !f.create && errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is not there: make it with -c", name)
	case f.create && errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// rewrite changes the text of a file.
func rewrite(name string, change func(text string) (string, error)) error {
	text, err := secret.ReadPublic(name) // the new one will be for its owner and group only
	if err != nil {
		return err
	}
	changed, err := change(string(text))
	if err != nil {
		return fmt.Errorf("%s:%w", name, err)
	}
	return secret.Replace(name, []byte(changed))
}

// readPassword asks for a password twice on a terminal, or else reads one line.
func readPassword(ctx context.Context, in io.Reader, out io.Writer) ([]byte, error) {
	f, ok := in.(*os.File)
	if !ok || !isTerminal(f) {
		return readLine(in)
	}
	var lines [2][]byte
	for i, prompt := range []string{"Password: ", "The same again: "} {
		var err error
		if lines[i], err = readHidden(ctx, f, out, prompt); err != nil {
			return nil, err
		}
		fmt.Fprintln(out)
	}
	if string(lines[0]) != string(lines[1]) {
		return nil, errors.New("the two passwords differ: nothing is changed")
	}
	return lines[0], nil
}

// readHidden reads a line from a terminal that does not show it, and has it show lines again
// even if the program is asked to end.
func readHidden(ctx context.Context, f *os.File, out io.Writer, prompt string) ([]byte, error) {
	show, err := hideInput(f)
	if err != nil {
		return nil, err
	}
	defer show()
	fmt.Fprint(out, prompt) // only now: some type fast
	type result struct {
		line []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		line, err := readLine(f)
		done <- result{line, err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		return nil, errors.New("interrupted: nothing is changed")
	}
}

// readLine reads one line, octet by octet: what comes after it is left for the next one.
func readLine(in io.Reader) ([]byte, error) {
	const longest = 65536 // more than a password may have
	var line []byte
	var c [1]byte
	for len(line) <= longest {
		_, err := io.ReadFull(in, c[:])
		if err == io.EOF && len(line) == 0 {
			return nil, errors.New("no password is given on standard input")
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		if err == io.EOF || c[0] == '\n' {
			break
		}
		line = append(line, c[0])
	}
	return bytes.TrimSuffix(line, []byte("\r")), nil
}
