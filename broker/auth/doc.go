// Package auth says who may connect, and what who has connected may do, by Mosquitto's own
// files: a password_file and an acl_file.
//
// A [Guard] holds what the files say. It is asked twice: whether a name and a password belong
// together, and for the [Rights] of a [Subject], which are asked for each topic after that.
// [Guard.Reload] reads the files again; rights that were handed out before follow them at
// once, and a file that has a mistake changes nothing.
//
// It knows MQTT's topics and nothing of connections. The embedded broker asks it for MQTT
// clients, the gateway for devices.
package auth
