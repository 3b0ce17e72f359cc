// Package dnssd announces the gateway on local networks by DNS-SD over multicast DNS (RFC
// 6763, RFC 6762), as a service of type _mqtt-sn._udp, and finds others that do so.
//
// The library answers questions. What it does not do is done here: it is told of
// interfaces once, so it is started again when they change; it does not announce a
// service that begins or ends; and it overlooks questions that come with known answers.
// Nobody looks for another with the same name: names are to be unique by configuration.
package dnssd
