//go:build !unix

package journal

import (
	"errors"
	"os"
)

const noFollow = 0

func flock(*os.File) (bool, error) {
	return false, errors.New("a journal on sqlite can't be locked on this operating system")
}
