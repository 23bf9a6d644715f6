// Package gpio is single lines of Linux's GPIO character devices (uAPI v2, kernel 5.10) as pins of periph.io/x/conn/v3: a button and a light for package voice.
//
// periph's own host drivers are not used: they would bring two more modules, and their driver of Raspberry Pis does not find the board on a mainline kernel.
package gpio
