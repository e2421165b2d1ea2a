package main

var (
	Printable = printable
	Text      = text
)
