package auth

// Options are the settings of all that have to do with who may do what.
type Options struct {
	// PasswordFile names the file of user names and passwords, as mosquitto_passwd or
	// "gateway passwd" writes it. Only its owner and group may read it. Default none.
	PasswordFile string `mapstructure:"password_file"`
	// ACLFile names the file of rights, in Mosquitto's acl_file format. Whoever no line of it
	// gives a right to has none. Default none: everybody may do everything.
	ACLFile string `mapstructure:"acl_file"`
}

// DefaultOptions returns the defaults that the fields of Options name.
func DefaultOptions() Options { return Options{} }

// Validate reports the first setting that cannot work. No file is opened.
func (o Options) Validate() error { return nil }
