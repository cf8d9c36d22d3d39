//go:build !linux

package main

import "syscall"

// apart keeps an interrupt at the terminal from a process.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
