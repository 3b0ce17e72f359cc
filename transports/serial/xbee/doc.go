// Package xbee reads and writes the frame data of Digi's API for XBee radios, ZigBee,
// DigiMesh and 802.15.4: what is between the length and the checksum of a frame. The
// envelope, its escapes and its checksum are package framing's.
//
// Numbers of several octets have the most significant first. A field that is the radio's
// to choose is passed as it stands: codes that Digi may add are not refused.
//
// To add a frame type:
//  1. a Type constant and its name in frame.go,
//  2. the struct with Append and its reading function in the file of its kind, reading
//     with the methods of reader only,
//  3. a case in Parse,
//  4. in the tests an example of Digi's, or one of our own that says so.
package xbee
