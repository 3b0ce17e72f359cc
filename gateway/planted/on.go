//go:build planted

package planted

import "os"

// chosen is the mistake that is to be made.
var chosen = os.Getenv("PLANTED")

// The mistakes, one of which is made.
var (
	AckBeforeSync            = chosen == "ack_before_sync"
	ResyncAfterEIO           = chosen == "resync_after_eio"
	DeleteBeforePuback       = chosen == "delete_before_puback"
	PubrelBeforeReleased     = chosen == "pubrel_before_released"
	QueueOrderReversed       = chosen == "queue_order_reversed"
	DropOnLevelWithoutCount  = chosen == "drop_on_level_without_count"
	PingrespFirst            = chosen == "pingresp_first"
	ForgetQoS2ID             = chosen == "forget_qos2_id"
	StaleHandMsgID           = chosen == "stale_hand_msgid"
	RenumberTopicIDs         = chosen == "renumber_topic_ids"
	LoseWill                 = chosen == "lose_will"
	AckUpstreamBeforeDurable = chosen == "ack_upstream_before_durable"
	SpoolDeletedWhenSent     = chosen == "spool_deleted_when_sent"
)
