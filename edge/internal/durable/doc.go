// Package durable keeps small files in a folder of their own, so that a power cut at any moment leaves each of them as it was before or after a change, never between.
package durable
