// Package mqtt is a client of MQTT 3.1.1 (OASIS Standard, 29 October 2014) that keeps itself connected, small enough for a board.
//
// It publishes and subscribes with QoS 0 and 1. Each connection starts a clean session: subscriptions are made again, and a message that was not acknowledged
// when its connection broke is an error of [Client.Publish], whose caller decides whether to send it again. QoS 2 and sessions that outlive a connection are not here.
package mqtt
