package x
default x := false
