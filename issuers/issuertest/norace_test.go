//go:build !race

package issuertest_test

const raceDetector = false
