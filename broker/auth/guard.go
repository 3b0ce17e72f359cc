package auth

// Guard is what the files of the options say. A nil Guard lets everybody do everything. Its
// methods may be called from any goroutine.
type Guard struct{}

// Subject is who asks.
type Subject struct {
	Client string // client id
	User   string // user name; "" is an anonymous client
}

// Rights are what one Subject may do, now and after each Reload. Nil Rights are those to do
// everything. The methods may be called from any goroutine, and are fast enough to be called
// for each message.
type Rights struct{}

// Rights returns what s may do: nil if g is nil or has no acl_file to ask, and never will.
func (g *Guard) Rights(s Subject) *Rights { return nil }

// MayPublish reports whether the subject may publish to a topic.
func (r *Rights) MayPublish(topic string) bool { return true }

// MayReceive reports whether the subject may be sent a message of a topic.
func (r *Rights) MayReceive(topic string) bool { return true }

// MaySubscribe reports whether there is any topic that filter fits and the subject may be
// sent messages of.
func (r *Rights) MaySubscribe(filter string) bool { return true }
