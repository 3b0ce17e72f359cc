//go:build !planted

package planted

// The mistakes, none of which is made.
const (
	// AckBeforeSync has the store say that all is durable.
	AckBeforeSync = false
	// ResyncAfterEIO has the store trust a file whose sync has failed once it succeeds.
	ResyncAfterEIO = false
	// DeleteBeforePuback has the broker inside forget a message once it is sent.
	DeleteBeforePuback = false
	// PubrelBeforeReleased has it send PUBREL before it is durable that the client has the
	// message.
	PubrelBeforeReleased = false
	// QueueOrderReversed has it read queues in another order than they were written.
	QueueOrderReversed = false
	// DropOnLevelWithoutCount has it acknowledge and drop what a full store does not take.
	DropOnLevelWithoutCount = false
	// PingrespFirst has a session send PINGRESP before what waits for a sleeper.
	PingrespFirst = false
	// ForgetQoS2ID has it forget by a restart which QoS 2 messages it has taken.
	ForgetQoS2ID = false
	// StaleHandMsgID has it give a QoS 2 message another MsgId after a restart.
	StaleHandMsgID = false
	// RenumberTopicIDs has it tie topic ids to other topics by a restart.
	RenumberTopicIDs = false
	// LoseWill has it forget the will by a restart.
	LoseWill = false
	// AckUpstreamBeforeDurable has the other broker be told that messages are kept before
	// they are.
	AckUpstreamBeforeDurable = false
	// SpoolDeletedWhenSent has a message for the other broker be forgotten once it is sent.
	SpoolDeletedWhenSent = false
)
