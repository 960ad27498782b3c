package main

import "testing"

func TestAFortuneStaysTheSame(t *testing.T) {
	if fortune("ann") != fortune("ann") {
		t.Fail()
	}
}
