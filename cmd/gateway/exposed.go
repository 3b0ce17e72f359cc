package main

import "mqttsn-gateway/broker/auth"

// exposed says, for the log, what anybody in the network can do, who has proven nothing.
func exposed(o auth.Options, links *linkSet, side *brokerSide) (warnings []string) {
	if o.ACLFile != "" {
		return nil // which says what they may do
	}
	if _, plain := links.local(); plain {
		warnings = append(warnings, "whoever can reach the UDP listener may be any device, and publish and subscribe to everything: use --dtls, or set auth.acl_file")
	}
	if side.open {
		warnings = append(warnings, "whoever can reach the MQTT listener may publish and subscribe to everything, without a password: set auth.password_file or auth.acl_file")
	}
	return warnings
}
