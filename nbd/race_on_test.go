//go:build race

package nbd

// raceDetector is on: pools then drop a part of what they are given.
const raceDetector = true
