package auth

import "fmt"

// Choice is a bool that may be left open.
type Choice string

// The values of a Choice.
const (
	Auto Choice = "auto"
	Yes  Choice = "true"
	No   Choice = "false"
)

// Options are the settings of all that have to do with who may do what.
type Options struct {
	// PasswordFile names the file of user names and passwords, as mosquitto_passwd or
	// "gateway passwd" writes it. Only its owner and group may read it. A line that is not
	// understood stops the start. Default none: any user name and password will do.
	PasswordFile string `mapstructure:"password_file"`
	// ACLFile names the file of rights, in Mosquitto's acl_file format. Whoever no line of it
	// gives a right to has none; an empty file gives none to anybody. Others may read it, but
	// not write it. A line that is not understood stops the start. Default none: everybody may
	// do everything.
	ACLFile string `mapstructure:"acl_file"`
	// AllowAnonymous says whether MQTT clients that give no user name are let in: true, false
	// or auto, which is true as long as there is no password_file. With false and no
	// password_file, no MQTT client is let in by name and password. Devices are not asked:
	// MQTT-SN 1.2 has no user names. Default auto.
	AllowAnonymous Choice `mapstructure:"allow_anonymous"`
}

// DefaultOptions returns the defaults that the fields of Options name.
func DefaultOptions() Options { return Options{AllowAnonymous: Auto} }

// Validate reports the first setting that cannot work. No file is opened.
func (o Options) Validate() error {
	switch o.AllowAnonymous {
	case Auto, Yes, No:
		return nil
	}
	return fmt.Errorf("allow_anonymous: %q is given; allowed is true, false or auto", o.AllowAnonymous)
}

// anonymous reports whether clients without a user name are let in.
func (o Options) anonymous() bool {
	return o.AllowAnonymous == Yes || o.AllowAnonymous != No && o.PasswordFile == ""
}
