package sensor

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Mailbox passes a message to a Raspberry Pi's firmware and gets it back with the answer in its place.
//
// A message is words of 32 bits: its bytes, 0 (in the answer: the status), tags, and 0. A tag is its number, the bytes of its buffer, 0 (in the answer:
// bit 31 and the bytes of the answer), and the buffer. [OpenMailbox] opens the one there is.
type Mailbox interface {
	// Property sends msg. An error wrapping [fs.ErrPermission] says that this device does not pass on some tag in it.
	Property(msg []uint32) error
	Close() error
}

// Tags and status, from include/soc/bcm2835/raspberrypi-firmware.h of the kernel.
const (
	tagThrottled    = 0x00030046
	tagTemperature  = 0x00030006
	tagClock        = 0x00030047 // measured, not the one that was asked for
	tagCommand      = 0x00030080 // gencmd: a command and an answer in text
	clockARM        = 3
	statusRequest   = 0
	statusDone      = 0x80000000
	statusMalformed = 0x80000001
	answered        = 1 << 31
)

// status checks the second word of an answer.
func status(msg []uint32) error {
	switch msg[1] {
	case statusDone:
		return nil
	case statusRequest: // seen on a Raspberry Pi 5 (raspberrypi/linux issue 7230)
		return fmt.Errorf("the firmware did not answer: update it (sudo rpi-eeprom-update -a) and reboot")
	case statusMalformed:
		return fmt.Errorf("the firmware says that the request is malformed")
	}
	return fmt.Errorf("the firmware answered with the unknown status %#x", msg[1])
}

// answer returns the buffer of the tag at word i, of want words.
func answer(msg []uint32, i int, tag uint32, want int) ([]uint32, error) {
	switch {
	case msg[i] != tag:
		return nil, fmt.Errorf("the firmware's answer has tag %#x in place of %#x", msg[i], tag)
	case msg[i+2]&answered == 0:
		return nil, fmt.Errorf("the firmware did not answer tag %#x", tag)
	case int(msg[i+2]&^answered) != 4*want:
		return nil, fmt.Errorf("the firmware's answer to tag %#x has %d bytes, not %d", tag, msg[i+2]&^answered, 4*want)
	}
	return msg[i+3 : i+3+want], nil
}

// A message with a command: a buffer of 4096 bytes, of which the first word is the command's error.
const (
	commandText  = 4096 - 4
	commandWords = 6 + commandText/4 + 1
)

// command asks for text. It keeps its memory: an answer is good until the next request.
type command struct {
	msg  [commandWords]uint32
	text [commandText]byte
}

// request sends what, which is shorter than the buffer, and returns the answer up to its NUL.
func (c *command) request(m Mailbox, what string) ([]byte, error) {
	clear(c.msg[:])
	clear(c.text[:])
	copy(c.text[:commandText-1], what)
	c.msg[0] = 4 * commandWords
	c.msg[2] = tagCommand
	c.msg[3] = 4 + commandText
	for i := 0; i <= len(what)/4; i++ {
		c.msg[6+i] = binary.LittleEndian.Uint32(c.text[4*i:])
	}
	if err := m.Property(c.msg[:]); err != nil {
		return nil, err
	}
	if err := status(c.msg[:]); err != nil {
		return nil, err
	}
	if c.msg[2] != tagCommand {
		return nil, fmt.Errorf("the firmware's answer has tag %#x in place of %#x", c.msg[2], tagCommand)
	}
	if c.msg[5] != 0 {
		return nil, fmt.Errorf("the firmware answered %q with error %d", what, int32(c.msg[5]))
	}
	for i := range commandText / 4 {
		binary.LittleEndian.PutUint32(c.text[4*i:], c.msg[6+i])
	}
	n := bytes.IndexByte(c.text[:], 0)
	switch {
	case n < 0:
		return nil, fmt.Errorf("the firmware's answer to %q fills all %d bytes: it is cut off", what, commandText)
	case n == 0 || bytes.Equal(c.text[:n], []byte(what)): // nothing wrote over the request
		return nil, fmt.Errorf("the firmware did not answer %q", what)
	case bytes.HasPrefix(c.text[:n], []byte("error=")):
		return nil, fmt.Errorf("the firmware does not know %q: %s", what, quoted(c.text[:n]))
	}
	return c.text[:n], nil
}
