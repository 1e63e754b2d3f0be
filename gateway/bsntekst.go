package gateway

import (
	"strings"
	"unicode"
)

// HoldsBSN reports whether free text holds what looks like a BSN: nine digits in a row that pass the eleven-test, also inside a
// longer number; eight digits alone that do with a zero before them; or nine digits written in groups ("999 993 653"). Digits of
// any script count. It errs on the side of yes: a text that is refused can be written without the number.
func HoldsBSN(text string) bool {
	var run, group strings.Builder // the digits in a row, and those of a whole group
	gap := 0                       // separators since the last digit
	found := func() bool {
		digits := run.String()
		if len(digits) == 8 {
			digits = "0" + digits
		}
		for i := 0; i+9 <= len(digits); i++ {
			if isBSN(digits[i : i+9]) {
				return true
			}
		}
		return false
	}
	for _, c := range text + "\n" {
		if n := digit(c); n >= 0 {
			if gap > 0 {
				run.Reset()
			}
			gap = 0
			run.WriteByte('0' + byte(n))
			group.WriteByte('0' + byte(n))
			continue
		}
		if gap == 0 && found() {
			return true
		}
		gap++
		if gap > 1 || unicode.IsLetter(c) || c == '\n' {
			if isBSN(group.String()) {
				return true
			}
			group.Reset()
			run.Reset()
		}
	}
	return false
}

func isBSN(s string) bool {
	_, err := ParseBSN(s)
	return err == nil
}

// digit is the value of a decimal digit of any script (they stand in order, ten by ten), or -1.
func digit(c rune) int {
	if c >= '0' && c <= '9' {
		return int(c - '0')
	}
	if !unicode.Is(unicode.Nd, c) {
		return -1
	}
	n := 0
	for n < 9 && unicode.Is(unicode.Nd, c-rune(n)-1) {
		n++
	}
	return n
}
